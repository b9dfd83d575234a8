import pytest

from curation.errors import ConfigError
from stages.filter.safety import SafetyPolicy


def test_a_policy_drops_thins_out_and_keeps(documents):
    n = 2000
    labels = [["safe", "sexual", "violence", "hate", None][i % 5] for i in range(n)]
    docs = documents(["text"] * n, safety=labels)
    stage = SafetyPolicy(policy={"sexual": "drop", "violence": 0.25, "hate": "keep"})
    stage.check()
    fates = stage(docs).to_pylist()
    by_label = {label: [f for f, own in zip(fates, labels, strict=True) if own == label] for label in set(labels)}
    assert set(by_label["sexual"]) == {"unsafe_sexual"}
    assert set(by_label["safe"]) == set(by_label["hate"]) == set(by_label[None]) == {None}
    kept = by_label["violence"].count(None)
    assert set(by_label["violence"]) == {None, "unsafe_violence_downsampled"} and 70 <= kept <= 130
    # By ids, whatever the batch; and a larger share keeps what a smaller one kept.
    parts = [f for i in range(0, n, 300) for f in stage(docs.slice(i, 300)).to_pylist()]
    assert parts == fates
    more = SafetyPolicy(policy={"violence": 0.5})(docs).to_pylist()
    assert all(b is None for a, b, own in zip(fates, more, labels, strict=True) if own == "violence" and a is None)
    assert SafetyPolicy(policy={}, unlabelled="drop")(docs).to_pylist().count("safety_unlabelled") == 400


@pytest.mark.parametrize("policy", [{"rude": "drop"}, {"safe word": 0.5}])
def test_unknown_categories_are_refused(policy):
    with pytest.raises(ConfigError, match="unknown categories .* there are sexual, violence"):
        SafetyPolicy(policy=policy).check()
