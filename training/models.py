"""The models of the Qwen papers by name, from two-million-parameter toys to Qwen3-30B-A3B, built by transformers.

The code of the models is transformers' own: Qwen2.5 (dense, bias on Q, K and V), Qwen3 (dense, RMSNorm on every
head's Q and K) and Qwen3-MoE (128 experts, 8 active, none shared). What is kept here is what its config classes get
wrong when left to their defaults: `norm_topk_prob` is false, RoPE's base is 10,000 whatever the paper says, and
`use_cache` is true, which makes packed rows attend across documents without a warning (logits off by 0.4 to 0.6).
For the same reason `LanguageModel` never passes an attention mask: transformers builds the block-diagonal mask from
position ids that start again at 0, and only if there is no mask and no cache.

A model begins as a skeleton without memory, and gets its weights module by module, each drawn from a seed of its own
name. So a run starts from the same weights on any number of ranks, and a rank that cuts each layer before it makes the
next never holds more than its share and one layer (`training/ranks.py`). Trade-off: every rank draws all numbers and
keeps its part, which takes the time of one rank and no messages.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from curation.errors import ConfigError
from curation.registry import nearest

#: Rows of the embedding in Qwen's released models up to 4B: 151,669 ids, padded.
QWEN_VOCABULARY = 151_936
#: Label of a position whose prediction does not count.
IGNORED = -100
#: Positions whose logits exist at one time; with 151,936 ids in fp32 that is 1.2 GB.
_LOGIT_ROWS = 2048


@dataclass(frozen=True)
class Shape:
    """What distinguishes one model from another. Sizes in units of features, layers, heads, tokens."""

    family: Literal["qwen2", "qwen3", "qwen3_moe"]
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    feed_forward: int
    vocabulary: int = QWEN_VOCABULARY
    tied: bool = True
    experts: int = 0
    active_experts: int = 0
    expert_feed_forward: int = 0
    rope_theta: float = 10_000.0
    max_length: int = 32_768


def _qwen2(hidden: int, layers: int, heads: int, kv_heads: int, ff: int, **more: Any) -> Shape:
    return Shape("qwen2", hidden, layers, heads, kv_heads, hidden // heads, ff, **more)


def _qwen3(hidden: int, layers: int, heads: int, kv_heads: int, ff: int, head_dim: int = 128, **more: Any) -> Shape:
    return Shape("qwen3", hidden, layers, heads, kv_heads, head_dim, ff, **more)


def _moe(base: Shape, experts: int, active: int, ff: int) -> Shape:
    return replace(base, family="qwen3_moe", experts=experts, active_experts=active, expert_feed_forward=ff)


_TINY = _qwen3(64, 2, 4, 2, 192, head_dim=16, vocabulary=8192, max_length=4096)
_UNTIED: dict[str, Any] = {"tied": False}

#: Sources: Qwen2.5 technical report (arXiv 2412.15115), table 1; Qwen3 technical report (arXiv 2505.09388), tables 1
#: and 2; widths from the published config.json of each model. `tiny`, `proxy` and `small` are ours, for tests and for
#: proxy runs on ids re-mapped to 8,192.
SHAPES: dict[str, Shape] = {
    "tiny-qwen2": _qwen2(64, 2, 4, 2, 192, vocabulary=8192, max_length=4096),
    "tiny-qwen3": _TINY,
    "tiny-qwen3-moe": _moe(_TINY, 16, 4, 48),
    "proxy-qwen3": _qwen3(128, 4, 4, 2, 384, head_dim=32, vocabulary=8192),
    "proxy-qwen3-moe": _moe(_qwen3(128, 4, 4, 2, 384, head_dim=32, vocabulary=8192), 128, 8, 48),
    "small-qwen3": _qwen3(320, 6, 5, 5, 1024, head_dim=64, vocabulary=8192),
    "Qwen2.5-0.5B": _qwen2(896, 24, 14, 2, 4864),
    "Qwen2.5-1.5B": _qwen2(1536, 28, 12, 2, 8960),
    "Qwen2.5-3B": _qwen2(2048, 36, 16, 2, 11_008),
    "Qwen2.5-7B": _qwen2(3584, 28, 28, 4, 18_944, vocabulary=152_064, **_UNTIED),
    "Qwen2.5-14B": _qwen2(5120, 48, 40, 8, 13_824, vocabulary=152_064, **_UNTIED),
    "Qwen2.5-32B": _qwen2(5120, 64, 40, 8, 27_648, vocabulary=152_064, **_UNTIED),
    "Qwen2.5-72B": _qwen2(8192, 80, 64, 8, 29_568, vocabulary=152_064, **_UNTIED),
    "Qwen3-0.6B": _qwen3(1024, 28, 16, 8, 3072),
    "Qwen3-1.7B": _qwen3(2048, 28, 16, 8, 6144),
    "Qwen3-4B": _qwen3(2560, 36, 32, 8, 9728),
    "Qwen3-8B": _qwen3(4096, 36, 32, 8, 12_288, **_UNTIED),
    "Qwen3-14B": _qwen3(5120, 40, 40, 8, 17_408, **_UNTIED),
    "Qwen3-32B": _qwen3(5120, 64, 64, 8, 25_600, **_UNTIED),
    "Qwen3-30B-A3B": _moe(_qwen3(2048, 48, 32, 4, 6144, **_UNTIED), 128, 8, 768),
    "Qwen3-235B-A22B": _moe(_qwen3(4096, 94, 64, 4, 12_288, **_UNTIED), 128, 8, 1536),
}


def shape(name: str, **changes: Any) -> Shape:
    """The shape of this name, with fields changed. ConfigError for an unknown name or field."""
    if name not in SHAPES:
        raise ConfigError(f"no model '{name}'{nearest(name, list(SHAPES)) or '; there are ' + ', '.join(SHAPES)}")
    known = asdict(SHAPES[name])
    for key in changes:
        if key not in known:
            raise ConfigError(
                f"model '{name}' has no '{key}'{nearest(key, list(known)) or '; it has ' + ', '.join(known)}"
            )
    made = replace(SHAPES[name], **changes)
    if made.heads % made.kv_heads:
        raise ConfigError(f"model '{name}': {made.heads} heads cannot share {made.kv_heads} keys and values evenly")
    if made.family == "qwen3_moe" and not 0 < made.active_experts <= made.experts:
        raise ConfigError(f"model '{name}': {made.active_experts} active experts of {made.experts}")
    if made.family == "qwen2" and made.head_dim * made.heads != made.hidden:
        made = replace(made, head_dim=made.hidden // made.heads)  # Qwen2 has no head size of its own
    return made


def transformers_config(shape: Shape, attention: str = "sdpa") -> Any:
    """The config of transformers for a shape, with nothing left to its defaults that changes the model."""
    from transformers import Qwen2Config, Qwen3Config, Qwen3MoeConfig

    common: dict[str, Any] = {
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "intermediate_size": shape.feed_forward,
        "max_position_embeddings": shape.max_length,
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
        "tie_word_embeddings": shape.tied,
        "rms_norm_eps": 1e-6,
        "use_sliding_window": False,
        "use_cache": False,
        "attn_implementation": attention,
        "dtype": "float32",
    }
    if shape.family == "qwen2":
        return Qwen2Config(**common)
    if shape.family == "qwen3":
        return Qwen3Config(**common, head_dim=shape.head_dim, attention_bias=False)
    experts: dict[str, Any] = {
        "head_dim": shape.head_dim,
        "attention_bias": False,
        "num_experts": shape.experts,
        "num_experts_per_tok": shape.active_experts,
        "moe_intermediate_size": shape.expert_feed_forward,
        "norm_topk_prob": True,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "output_router_logits": False,  # transformers' own loss pools all layers; `balance.py` does not
        "router_aux_loss_coef": 0.0,
    }
    return Qwen3MoeConfig(**common, **experts)


class LanguageModel(nn.Module):
    """A causal language model with its loss: token ids in, the sum of the predictions' losses out.

    The head and the loss are inside, so that FSDP gathers the head's weights with the root, and the logits of a batch
    never exist at once: they are made for 2,048 positions at a time, and made again for the backward pass.
    """

    def __init__(self, inner: Any, shape: Shape):
        super().__init__()
        self.inner = inner
        self.shape = shape

    def hidden(self, input_ids: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
        """Last hidden states, [rows, length, hidden]. position_ids start again at 0 with each document of a row."""
        return self.inner.model(input_ids=input_ids, position_ids=position_ids, use_cache=False).last_hidden_state

    def logits(self, input_ids: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
        """Logits at every position, [rows, length, vocabulary]."""
        return self.inner.lm_head(self.hidden(input_ids, position_ids))

    def _losses(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(
            self.inner.lm_head(hidden).float(), targets, ignore_index=IGNORED, reduction="none"
        )

    def token_losses(self, input_ids: torch.Tensor, position_ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Loss in nats of each position's prediction of the next label, [rows, length - 1]; 0 where it is ignored.

        labels: as input_ids, not shifted; `labels[:, t]` is what position t - 1 predicts.
        """
        hidden = self.hidden(input_ids, position_ids)[:, :-1].flatten(0, 1)
        targets = labels[:, 1:].flatten()
        pieces = []
        for start in range(0, len(targets), _LOGIT_ROWS):
            part = hidden[start : start + _LOGIT_ROWS], targets[start : start + _LOGIT_ROWS]
            if torch.is_grad_enabled() and len(targets) > _LOGIT_ROWS:
                pieces.append(checkpoint(self._losses, *part, use_reentrant=False))
            else:
                pieces.append(self._losses(*part))
        return torch.cat(pieces).view(labels.shape[0], -1).clone()  # FSDP wants no view to come out

    def forward(self, input_ids: torch.Tensor, position_ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Sum of the losses of all predictions that count, nats."""
        return self.token_losses(input_ids, position_ids, labels).sum()

    def set_rope(self, parameters: dict[str, Any], length: int) -> None:
        """Change RoPE (`rope_theta`, `rope_type`, …, as transformers' `rope_parameters`). The weights stay."""
        config = self.inner.config
        config.rope_parameters = parameters
        config.max_position_embeddings = length
        old = self.inner.model.rotary_emb
        self.inner.model.rotary_emb = type(old)(config).to(old.inv_freq.device)


def skeleton(shape: Shape, attention: str = "sdpa") -> LanguageModel:
    """A model whose weights have shapes and no memory yet; `materialise` makes them."""
    import transformers

    classes = {
        "qwen2": transformers.Qwen2ForCausalLM,
        "qwen3": transformers.Qwen3ForCausalLM,
        "qwen3_moe": transformers.Qwen3MoeForCausalLM,
    }
    with torch.device("meta"):
        inner = classes[shape.family](transformers_config(shape, attention))
    inner.model.rotary_emb = type(inner.model.rotary_emb)(inner.config)  # no weight, and outside every layer
    return LanguageModel(inner, shape)


@torch.no_grad()
def materialise(model: LanguageModel, seed: int, part: nn.Module | None = None) -> None:
    """Make the weights of a part of a skeleton (default: all that are left), on the CPU, by transformers' own rules.

    Each module's are drawn from a seed made of its name: the same whatever is made before it, and on whichever rank.
    """
    inner, inside = model.inner, set((part or model).modules())
    for name, module in inner.named_modules():
        if module not in inside or not any(p is not None and p.is_meta for p in module._parameters.values()):
            continue
        if model.shape.tied and module is inner.lm_head:
            module.weight = inner.model.embed_tokens.weight
            continue
        for key, weight in module.named_parameters(recurse=False):
            setattr(module, key, nn.Parameter(torch.empty_like(weight, device="cpu")))
        digest = hashlib.blake2b(f"{seed} {name}".encode(), digest_size=8).digest()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int.from_bytes(digest, "big", signed=True))
            inner._init_weights(module)


def build(shape: Shape, seed: int = 0, attention: str = "sdpa") -> LanguageModel:
    """A model with random weights that depend on the shape and the seed alone."""
    model = skeleton(shape, attention)
    materialise(model, seed)
    return model


def parameters(shape: Shape) -> tuple[int, int, int]:
    """Parameters of a model: all, those that take part in one token, and those without embedding and head."""
    attention = shape.hidden * shape.head_dim * (2 * shape.heads + 2 * shape.kv_heads)
    norms = 2 * shape.hidden
    if shape.family == "qwen2":
        attention += shape.head_dim * (shape.heads + 2 * shape.kv_heads)
    else:
        norms += 2 * shape.head_dim
    if shape.family == "qwen3_moe":
        expert, router = 3 * shape.hidden * shape.expert_feed_forward, shape.hidden * shape.experts
        block, active = expert * shape.experts + router, expert * shape.active_experts + router
    else:
        block = active = 3 * shape.hidden * shape.feed_forward
    embeddings = shape.vocabulary * shape.hidden * (1 if shape.tied else 2)
    body = shape.layers * (attention + norms + block) + shape.hidden
    return body + embeddings, shape.layers * (attention + norms + active) + shape.hidden + embeddings, body


def flops_per_token(shape: Shape, length: int) -> float:
    """Floating-point operations of training on one token of rows of `length`: 6 per active weight that multiplies
    (the input embedding only looks up), and 12 per layer, head feature and position attended to, half of them masked.

    PaLM (arXiv 2204.02311), appendix B, with the causal half; what recomputation repeats does not count.
    """
    _, active, _ = parameters(shape)
    multiplied = active - (0 if shape.tied else shape.vocabulary * shape.hidden)
    return 6.0 * multiplied + 6.0 * shape.layers * shape.heads * shape.head_dim * length
