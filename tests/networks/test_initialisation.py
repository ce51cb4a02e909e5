import math

import pytest
import torch
from torch import nn

from kdlm.networks.initialisation import INITIALISATIONS, initialise, jitter, perturb, stream
from kdlm.networks.resnet import ARCHITECTURES, ResNet


def network(name: str, seed: int = 0, dtype: torch.dtype = torch.float32) -> ResNet:
    model = ARCHITECTURES["resnet20"](num_classes=100).to(dtype)
    initialise(model, name, stream(seed, "weights"))
    return model


def test_streams_are_repeatable_and_independent() -> None:
    draw = torch.randn(1000, generator=stream(3, "order"))
    assert torch.equal(draw, torch.randn(1000, generator=stream(3, "order")))
    for seed, purpose in ((4, "order"), (3, "views")):
        other = torch.randn(1000, generator=stream(seed, purpose))
        assert abs(float((draw * other).mean())) < 0.15


@pytest.mark.parametrize("name", INITIALISATIONS)
def test_a_seed_decides_every_number(name: str) -> None:
    one, same, other = (dict(network(name, seed).named_parameters()) for seed in (0, 0, 1))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["classifier.weight"], other["classifier.weight"])


@pytest.mark.parametrize("name", INITIALISATIONS)
def test_what_a_network_was_before_does_not_matter(name: str) -> None:
    model = network("xavier", 5)
    model(torch.randn(4, 3, 8, 8))
    initialise(model, name, stream(0, "weights"))
    fresh = network(name).state_dict()
    assert all(torch.equal(value, fresh[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", INITIALISATIONS)
def test_float64_networks_get_the_same_numbers(name: str) -> None:
    single, double = network(name), network(name, dtype=torch.float64)
    for one, other in zip(single.parameters(), double.parameters(), strict=True):
        # he-centred subtracts the mean in the network's own type
        torch.testing.assert_close(one.double(), other, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "deviation"),
    [
        ("he", lambda _fan_in, fan_out: math.sqrt(2 / fan_out)),
        ("default", lambda fan_in, _fan_out: 1 / math.sqrt(3 * fan_in)),
        ("xavier", lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out))),
    ],
)
def test_convolutions_have_the_spread_of_their_name(name: str, deviation: object) -> None:
    assert callable(deviation)
    for module in network(name).modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 5000:
            weight = module.weight.detach()
            area = module.kernel_size[0] * module.kernel_size[1]
            expected = deviation(module.in_channels * area, module.out_channels * area)
            # six standard errors of an sd
            tolerance = 6 / math.sqrt(2 * weight.numel())
            assert float(weight.std()) == pytest.approx(expected, rel=tolerance)
            assert abs(float(module.weight.mean())) < 6 * expected / math.sqrt(
                module.weight.numel()
            )


@pytest.mark.parametrize("name", ["he", "default"])
def test_the_default_classifier_is_that_of_torch(name: str) -> None:
    model, reference = network(name), nn.Linear(64, 100)
    for mine, theirs in zip(model.classifier.parameters(), reference.parameters(), strict=True):
        bound = 1 / math.sqrt(64)
        assert float(mine.detach().abs().max()) <= bound
        assert float(theirs.detach().abs().max()) <= bound
        assert float(mine.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.25)


def test_xavier_has_no_bias() -> None:
    assert not network("xavier").classifier.bias.any()


def test_a_centred_classifier_has_zero_mean_logits_for_any_image() -> None:
    model = network("he-centred", dtype=torch.float64).eval()
    means = model(torch.randn(16, 3, 16, 16, dtype=torch.float64)).mean(dim=1)
    assert float(means.abs().max()) < 1e-6 * float(
        model(torch.ones(1, 3, 16, 16).double()).std() + 1
    )
    assert float(network("he").eval()(torch.randn(16, 3, 16, 16)).mean(dim=1).abs().max()) > 1e-4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_perturbation_is_a_count_of_ulps(dtype: torch.dtype) -> None:
    model, moved = network("he", dtype=dtype), network("he", dtype=dtype)
    perturb(moved, 2)
    for before, after in zip(model.parameters(), moved.parameters(), strict=True):
        twice = before.nextafter(before.new_tensor(math.inf)).nextafter(before.new_tensor(math.inf))
        assert torch.equal(after, twice)
    perturb(model, 0)
    assert torch.equal(model.conv1.weight, network("he", dtype=dtype).conv1.weight)


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"'zero'.*he-centred"):
        network("zero")


def jittered(size: float, dtype: torch.dtype = torch.float64, seed: int = 0) -> ResNet:
    model = network("he", dtype=dtype)
    with torch.no_grad():
        # a bias of 0 would not move; a student's last bias is shifted, so that it is not
        for parameter in model.parameters():
            parameter.add_(0.25)
    jitter(model, size, stream(seed, "student jitter"))
    return model


def signs(size: float, seed: int = 0) -> list[torch.Tensor]:
    pairs = zip(jittered(size, seed=seed).parameters(), jittered(0).parameters(), strict=True)
    return [torch.sign(moved / before - 1).detach() for moved, before in pairs]


@pytest.mark.parametrize("size", [1e-14, 1e-7, 1e-2])
def test_a_jitter_moves_every_weight_by_its_size_up_or_down(size: float) -> None:
    for moved, before in zip(jittered(size).parameters(), jittered(0).parameters(), strict=True):
        relative = (moved / before - 1).detach()
        # up to the spacing of float64 at 1
        assert (relative.abs() - size).abs().max() < 3e-16
        if relative.numel() >= 64:
            assert 0.2 < (relative > 0).double().mean() < 0.8


def test_the_signs_of_a_jitter_do_not_depend_on_its_size() -> None:
    for one, other in zip(signs(1e-12), signs(1e-2), strict=True):
        assert torch.equal(one, other)
        assert one.all()
    # another seed has other signs
    one, other = (torch.cat([each.flatten() for each in signs(1e-2, seed)]) for seed in (0, 1))
    assert 0.4 < float((one != other).double().mean()) < 0.6


def test_no_jitter_moves_and_draws_nothing() -> None:
    model, generator = network("he"), stream(0, "student jitter")
    before = generator.get_state()
    jitter(model, 0.0, generator)
    assert torch.equal(generator.get_state(), before)
    for one, other in zip(model.parameters(), network("he").parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_rung_at_the_rounding_moves_every_weight(dtype: torch.dtype) -> None:
    for moved, before in zip(
        jittered(torch.finfo(dtype).eps, dtype).parameters(), jittered(0, dtype).parameters(),
        strict=True,
    ):  # fmt: skip
        assert (moved != before).all()
