import pytest

from components.study_reporter import p_values


def test_mcnemar_is_the_mid_p_of_the_discordant_images():
    assert p_values.mcnemar(0, 0) == 1
    assert p_values.mcnemar(5, 5) == pytest.approx(1)
    # 2 (C(10,0) + C(10,1) / 2) / 2^10
    assert p_values.mcnemar(1, 9) == pytest.approx(2 * (1 + 5) / 1024)
    assert p_values.mcnemar(9, 1) == p_values.mcnemar(1, 9)
    assert p_values.mcnemar(0, 4) == pytest.approx(1 / 16)


def test_holm_corrects_stepwise():
    found = [0.01, 0.04, 0.03, 0.005, 0.9]
    assert p_values.holm(found) == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.9])
    assert p_values.holm([]) == []
    assert p_values.holm([0.6, 0.7]) == [1, 1]
