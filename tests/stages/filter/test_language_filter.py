"""filter_language: selection, thresholds, unknown languages, and mistakes in the configuration."""

import pytest
from pydantic import ValidationError

from curation.errors import ConfigError
from stages.annotate.language import IdentifyLanguage
from stages.filter.language import FilterLanguage


def verdicts(documents, labelled, **config):
    stage = FilterLanguage(**config)
    stage.check()
    docs = documents(
        ["text"] * len(labelled), language=[code for code, _ in labelled], language_score=[s for _, s in labelled]
    )
    return stage(docs).to_pylist()


LABELLED = [("fra_Latn", 0.95), ("fra_Latn", 0.4), ("deu_Latn", 0.95), ("und", 0.99), (None, None)]


def test_all_languages_by_default_but_unknown_ones(documents):
    assert verdicts(documents, LABELLED) == [None, None, None, "language_not_selected", "language_not_selected"]
    assert verdicts(documents, LABELLED, und="keep") == [None] * 5


def test_selected_languages(documents):
    dropped = "language_not_selected"
    assert verdicts(documents, LABELLED, languages=["fra_Latn"]) == [None, None, dropped, dropped, dropped]
    assert verdicts(documents, LABELLED, languages=["fra_Latn"], und="keep") == [None, None, dropped, None, None]


def test_one_threshold(documents):
    found = verdicts(documents, LABELLED, min_score=0.5, und="keep")
    assert found == [None, "language_score_low", None, None, None]
    # not below is enough, although the column is single precision
    assert verdicts(documents, [("fra_Latn", 0.625)], min_score=0.625) == [None]


def test_thresholds_per_language_are_those_of_fineweb2(documents):
    # FineWeb-2's configs/bul_Cyrl.yml, dan_Latn.yml; FineWeb's 0.65 for English
    labelled = [("bul_Cyrl", 0.85), ("bul_Cyrl", 0.95), ("dan_Latn", 0.35), ("dan_Latn", 0.25), ("eng_Latn", 0.64)]
    low = "language_score_low"
    assert verdicts(documents, labelled, min_score="fineweb2") == [low, None, None, low, low]


def test_thresholds_of_the_shipped_model(documents):
    from classifiers.language.limits import SHIPPED_LIMITS, Limits

    least = Limits.load(SHIPPED_LIMITS).score
    labelled = [
        (code, score + d)
        for code, score in (("nob_Latn", least["nob_Latn"]), ("ary_Arab", least["ara_Arab"]))
        for d in (-0.01, 0.01)
    ]
    low = "language_score_low"
    assert verdicts(documents, labelled, min_score="per_language") == [low, None, low, None]
    drawn = FilterLanguage(min_score="per_language")
    assert drawn.thresholds() == {}
    assert drawn.thresholds_of("ary_Arab") == {"language_score": {"min_score": least["ara_Arab"]}}
    assert drawn.thresholds_of("und") == {}
    assert FilterLanguage(min_score=0.5).thresholds_of("fra_Latn") == FilterLanguage(min_score=0.5).thresholds()


def test_every_language_has_a_threshold():
    from classifiers.language.labels import groups, languages
    from classifiers.language.limits import SHIPPED_LIMITS, Limits
    from stages.filter.languages import language_parameters

    assert all(0 <= language_parameters()[code]["language_score"] < 1 for code in languages())
    limits = Limits.load(SHIPPED_LIMITS)
    assert set(limits.score) == set(limits.outside) == set(groups())
    assert all(0.3 <= score <= 0.9 for score in limits.score.values())


def test_a_group_selects_its_varieties(documents):
    dropped = "language_not_selected"
    labelled = [("ary_Arab", 0.9), ("ara_Arab", 0.9), ("pes_Arab", 0.9)]
    assert verdicts(documents, labelled, languages=["ara_Arab"]) == [None, None, dropped]
    assert verdicts(documents, labelled, languages=["ary_Arab"]) == [None, dropped, dropped]


def test_no_language_and_mixed_documents(documents):
    assert verdicts(documents, [("zxx", 1.0)]) == ["no_language"]
    assert verdicts(documents, [("zxx", 1.0), ("und", 1.0)], zxx="keep") == [None, "language_not_selected"]
    docs = documents(["text"] * 3, language=["fra_Latn"] * 3, language_score=[1.0] * 3, language_share=[0.5, 0.8, None])
    assert FilterLanguage(min_share=0.8)(docs).to_pylist() == ["language_mixed", None, None]


def test_after_identification(documents):
    docs = documents(
        [
            "Nul ne sera soumis à la torture, ni à des peines ou traitements cruels.",
            "Everyone has the right to life.",
            "",
            None,
        ]
    )
    dropped = "language_not_selected"
    assert FilterLanguage(languages=["fra_Latn"])(IdentifyLanguage()(docs)).to_pylist() == [None, *[dropped] * 3]


def test_mistakes_in_the_configuration_are_told():
    with pytest.raises(ConfigError, match=r"fra_Lat.*did you mean 'fra_Latn'"):
        FilterLanguage(languages=["fra_Lat"]).check()
    with pytest.raises(ConfigError, match="empty"):
        FilterLanguage(languages=[]).check()
    with pytest.raises(ValidationError):
        FilterLanguage(min_score="per-language")
    with pytest.raises(ValidationError):
        FilterLanguage(min_score=1.5)
