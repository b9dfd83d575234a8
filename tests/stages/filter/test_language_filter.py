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
    assert verdicts(documents, labelled, min_score="per_language") == [low, None, None, low, low]


def test_every_language_has_a_threshold():
    from classifiers.language.model import languages
    from stages.filter.languages import language_parameters

    assert all(0 <= language_parameters()[code]["language_score"] < 1 for code in languages())


def test_after_identification(documents):
    docs = documents(["Nul ne sera soumis à la torture.", "Everyone has the right to life.", "", None])
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
