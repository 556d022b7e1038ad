"""What claims read off results; most of it is covered by tests/experiments/test_cnn.py."""

from types import SimpleNamespace

import numpy as np

from experiments.cnn import measures
from experiments.cnn.claims import CLAIMS
from experiments.cnn.networks import CNN_NAME, FACTORS, mlp_name
from reporting.claims import judge_all


def test_a_claim_is_judged_on_its_own_data_set_and_width(monkeypatch):
    def judge(dataset, source, width):
        monkeypatch.setattr(measures, "load_images", lambda config: SimpleNamespace(facts={"dataset": source}))
        config = SimpleNamespace(dataset=dataset, airbench_width=width)
        result = SimpleNamespace(config=config, examined={"accuracy": np.array([0.9])})
        verdicts = judge_all(CLAIMS, {"table": result, "airbench": result})
        return {v.id: v.passed for v in verdicts if v.id in ("5b", "10a", "10b") and v.measured}

    assert judge("cifar10_binary", "cifar10_binary", 16) == {"5b": True, "10a": True}
    assert judge("cifar10", "cifar10_jpeg", 32) == {"5b": True, "10a": True}
    assert judge("cifar10", "cifar10", 64) == {"5b": True, "10b": False}
    assert judge("cifar10", "cifar10_jpeg", 64) == {"5b": True}
    assert judge("digits", "digits", 16) == {}


def test_parameters_to_match_are_those_of_the_smallest_mlp_that_is_as_accurate():
    names = [CNN_NAME, *map(mlp_name, FACTORS)]
    accuracies = np.array([[0.9, 0.5, 0.9, 0.8, 0.9, 0.9], [0.9, 0.5, 0.6, 0.7, 0.95, 0.8]])  # [S, networks]
    examined = {
        "test_accuracy": accuracies[:, :, None, None],
        "num_parameters": np.tile([100, 101, 200, 400, 800, 1600], (2, 1)),
    }
    result = SimpleNamespace(model=dict.fromkeys(names), examined=examined)
    np.testing.assert_allclose(measures.parameters_to_match(result), [2, 8])
    examined["test_accuracy"][1, 1:] = 0.1
    assert measures.parameters_to_match(result).startswith("no MLP of at most 16 times the parameters")
