from __future__ import annotations

from typing import get_args

from pipelines.clustering.algorithms.registry import ALGORITHMS
from pipelines.core.messages import Message
from studio.i18n import texts, translate


def test_all_that_the_registry_says_has_a_chinese_translation():
    chinese = texts("zh")
    said = {
        getattr(algorithm, part)
        for algorithm in ALGORITHMS.values()
        for part in (
            *("title", "description", "assumes", "cost", "fails"),
            *("all_noise", "one_cluster"),
        )
    }
    assert not sorted(said - chinese.keys() - {""})


def test_every_setting_has_a_title_and_help():
    for algorithm in ALGORITHMS.values():
        for name, field in algorithm.parameters.model_fields.items():
            assert field.title, (algorithm.name, name)
            assert field.description, (algorithm.name, name)
            if type(None) in get_args(field.annotation) and name != "centres":
                assert " Empty: " in field.description, (algorithm.name, name)


def test_algorithms_go_by_their_translated_titles():
    message = Message("Fitting: {algorithm}", algorithm="Gaussian mixture")
    assert "高斯混合" in translate(message, "zh")
