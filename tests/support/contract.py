"""What holds for every model family: the tests that its test class inherits.

    class TestTensorNet(ModelContract):
        kinds = tuple(NARROW)
        published = ("MatPES",)

        def model(self, kind): return narrow(kind)
        def published_model(self, name): return load(name)

A family's own tests (heads, committees, units, what is refused) stand beside its class.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from support.parity import EXACT, all_results, assert_parity, difference_quotient
from support.structures import REAL, STRUCTURES, Structure, oxide, rattled
from support.torch_globals import MODES, modes

from distmlip import DistCalculator
from distmlip.errors import InvalidInputError, UnsupportedElementError
from distmlip.models import adapter_for
from distmlip.torch_modes import default_dtype

MORE_THAN_ATOMS = "more than atoms"
PARTITIONS: tuple[int | str, ...] = (1, 2, 3, 4, 8, MORE_THAN_ATOMS)
DTYPES = (torch.float64, torch.float32)


def energy_of(calculator: Any, atoms: Atoms) -> float:
    """eV"""
    calculator.calculate(atoms)
    return float(calculator.results["energy"])


def number_of(partitions: int | str, atoms: Atoms) -> int:
    return len(atoms) + 3 if partitions == MORE_THAN_ATOMS else int(partitions)


class ModelContract:
    """Tests of one family. Narrow models have float64 weights and forces of the order of 1 eV/Å."""

    kinds: ClassVar[tuple[str, ...]]
    """Names of narrow models; the first one is used wherever one model is enough."""
    structures_of_kinds: ClassVar[tuple[str, ...]] = ("oxide", "two_far_apart_molecules", "without_angles")
    """On which every kind is tested."""
    published: ClassVar[tuple[str, ...]] = ()
    """Names of models with pretrained weights, or of a published size."""
    slow: ClassVar[tuple[str, ...]] = ()
    """Those of ``published`` that take more than some seconds."""
    kernels: ClassVar[str] = "auto"
    """Of the calculators that are compared with the original."""

    def model(self, kind: str) -> Any:
        """A narrow model, the same object for every call."""
        raise NotImplementedError

    def published_model(self, name: str) -> Any:
        """A published model, the same object for every call."""
        raise NotImplementedError

    def fresh_model(self) -> Any:
        """A new narrow model of the first kind, for tests that change it."""
        raise NotImplementedError

    def options_of(self, name: str) -> dict[str, Any]:
        """Options of the calculator that a model needs."""
        return {}

    def prepare(self, atoms: Atoms) -> Atoms:
        """The same atoms with what the family's models read besides positions and types."""
        return atoms

    def reference_structure(self, structure: Structure) -> Atoms:
        """The atoms of a structure as the original needs them."""
        return structure.reference

    # ---- helpers

    def __init_subclass__(cls) -> None:
        if not cls.published:  # else pytest would call it a skipped test
            cls.test_published_model_on_a_real_structure = None
            cls.test_published_model_on_any_structure = None

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "kind" in metafunc.fixturenames:
            metafunc.parametrize("kind", self.kinds)
        if {"kind", "structure"} <= set(metafunc.fixturenames):
            metafunc.parametrize("structure", self.structures_of_kinds)
        if "published_name" in metafunc.fixturenames:
            marked = [
                pytest.param(n, marks=pytest.mark.slow) if n in self.slow else n for n in self.published
            ]
            metafunc.parametrize("published_name", marked)

    def check(
        self, model: Any, name: str, structure: Structure, partitions: int | str, **options: Any
    ) -> dict[str, float]:
        """Assert parity with the original; ``name`` says which options the model needs."""
        return assert_parity(
            model,
            self.prepare(structure.atoms),
            number_of(partitions, structure.atoms),
            reference_atoms=self.prepare(self.reference_structure(structure)),
            kernels=self.kernels,
            **self.options_of(name),
            **options,
        )

    def calculator(self, partitions: int, model: Any = None, **options: Any) -> DistCalculator:
        """Of the first kind of model."""
        kind = self.kinds[0]
        model = self.model(kind) if model is None else model
        return DistCalculator(
            model,
            **{"devices": "cpu", "partitions": partitions, "dtype": "float64", "kernels": self.kernels}
            | self.options_of(kind)
            | options,
        )

    def results(self, atoms: Atoms, partitions: int) -> dict[str, Any]:
        """Results of the first kind of model."""
        calculator = self.calculator(partitions)
        calculator.calculate(self.prepare(atoms))
        return all_results(calculator)

    # ---- parity

    @pytest.mark.parametrize("partitions", PARTITIONS)
    @pytest.mark.parametrize("build", STRUCTURES.values(), ids=STRUCTURES)
    def test_any_structure_over_any_number_of_partitions(
        self, build: Callable[[], Structure], partitions: int | str
    ) -> None:
        self.check(self.model(self.kinds[0]), self.kinds[0], build(), partitions)

    @pytest.mark.parametrize("partitions", PARTITIONS[:-1])
    def test_single_precision_is_no_worse_than_the_original(self, partitions: int) -> None:
        self.check(self.model(self.kinds[0]), self.kinds[0], oxide(), partitions, dtype=torch.float32)

    @pytest.mark.parametrize("partitions", [1, 3])
    def test_every_kind_of_model(self, kind: str, structure: str, partitions: int) -> None:
        self.check(self.model(kind), kind, STRUCTURES[structure](), partitions)

    def test_recomputed_stages_give_the_same(self, kind: str) -> None:
        structure = STRUCTURES["metal_with_vacancies"]()
        self.check(self.model(kind), kind, structure, 3, recompute=True)

    @pytest.mark.parametrize("method", ["slab", "bisection"])
    def test_every_way_to_cut(self, method: str) -> None:
        self.check(self.model(self.kinds[0]), self.kinds[0], oxide(), 4, method=method)

    @pytest.mark.parametrize("partitions", [1, 4])
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    @pytest.mark.parametrize("build", REAL.values(), ids=REAL)
    def test_published_model_on_a_real_structure(
        self, published_name: str, build: Callable[[], Structure], dtype: torch.dtype, partitions: int
    ) -> None:
        model = self.published_model(published_name)
        self.check(model, published_name, build(), partitions, dtype=dtype)

    @pytest.mark.slow
    @pytest.mark.parametrize("build", STRUCTURES.values(), ids=STRUCTURES)
    def test_published_model_on_any_structure(
        self, published_name: str, build: Callable[[], Structure]
    ) -> None:
        self.check(self.published_model(published_name), published_name, build(), 4)

    # ---- results

    def test_results_are_those_of_the_original_calculator(self, kind: str) -> None:
        options = self.options_of(kind)
        ours = self.calculator(3, self.model(kind), **options)
        theirs = adapter_for(self.model(kind), torch.float64, **options).original()
        for calculator in (ours, theirs):
            calculator.calculate(self.prepare(oxide().atoms), ["energy", "forces", "stress"])
        known = set(theirs.implemented_properties) & set(theirs.results)
        found = all_results(ours)
        assert set(found) >= known | {"free_energy", "energies", "stress"}
        for name in known - {"stress"}:  # whose shape differs; parity compares it
            np.testing.assert_allclose(
                np.squeeze(found[name]),
                np.squeeze(theirs.results[name]),
                rtol=1e-9,
                atol=1e-9,
                err_msg=name,
            )

    def test_results_are_consistent(self) -> None:
        atoms = oxide().atoms
        calculator = self.calculator(3)
        calculator.calculate(self.prepare(atoms))
        results = all_results(calculator)
        assert SinglePointCalculator(atoms, **calculator.results).get_potential_energy() == results["energy"]
        assert isinstance(results["energy"], float)
        assert results["free_energy"] == results["energy"]
        assert set(calculator.implemented_properties) <= set(results)
        np.testing.assert_allclose(results["energies"].sum(), results["energy"], atol=1e-9)
        np.testing.assert_allclose(results["stresses"].sum(axis=0), results["stress"], atol=1e-12)
        np.testing.assert_allclose(results["forces"].sum(axis=0), 0, atol=1e-10)

    @pytest.mark.parametrize("structure", ["oxide", "slab", "molecule", "one_atom"])
    def test_verify_compares_with_the_original_at_any_boundary(self, structure: str) -> None:
        atoms = self.prepare(STRUCTURES[structure]().atoms)
        verification = self.calculator(2).verify(atoms)
        assert verification.energy_per_atom <= 1e-10
        assert verification.forces <= 1e-9
        assert verification.stress is None or verification.stress <= 1e-11
        assert max(verification.others.values()) <= 1e-8

    def test_forces_and_stress_are_derivatives_of_the_energy(self) -> None:
        atoms = rattled(oxide().atoms, 0.05)
        atoms.calc = self.calculator(3, skin=0.2)
        self.prepare(atoms)
        forces, stress = atoms.get_forces(), atoms.get_stress(voigt=False)
        step = 1e-5
        direction = np.random.default_rng(0).normal(size=atoms.positions.shape)
        slope = difference_quotient(atoms, step, lambda moved, h: moved.positions.__iadd__(h * direction))
        assert slope == pytest.approx(-np.sum(forces * direction), rel=1e-6, abs=1e-7)
        for i, j in ((0, 0), (1, 2)):
            strain = np.zeros((3, 3))
            strain[i, j] += 0.5  # symmetric: some models do not give the same energy for what is turned
            strain[j, i] += 0.5

            def deform(strained: Atoms, h: float, strain: np.ndarray = strain) -> None:
                strained.set_cell(strained.cell.array @ (np.eye(3) + h * strain), scale_atoms=True)

            slope = difference_quotient(atoms, step, deform)
            assert slope / atoms.get_volume() == pytest.approx(stress[i, j], rel=1e-5, abs=1e-8)

    # ---- invariance

    def test_permuted_atoms(self) -> None:
        atoms = oxide().atoms
        order = np.random.default_rng(0).permutation(len(atoms))
        whole, permuted = self.results(atoms, 3), self.results(atoms[order], 3)
        assert permuted["energy"] == pytest.approx(whole["energy"], rel=1e-12)
        np.testing.assert_allclose(permuted["forces"], whole["forces"][order], atol=1e-10)
        np.testing.assert_allclose(permuted["stress"], whole["stress"], atol=1e-12)

    def test_translated_and_wrapped_atoms(self) -> None:
        atoms = oxide().atoms
        moved = atoms.copy()
        moved.positions += [0.7, -31.3, 4.9]
        moved.wrap()
        whole, translated = self.results(atoms, 3), self.results(moved, 3)
        np.testing.assert_allclose(translated["forces"], whole["forces"], atol=1e-9)
        np.testing.assert_allclose(translated["stress"], whole["stress"], atol=1e-11)

    def test_rotated_atoms_and_cell(self) -> None:
        atoms = oxide().atoms
        turned = atoms.copy()
        turned.rotate(37, (1, 2, -0.5), rotate_cell=True)
        rotation = np.linalg.solve(atoms.cell.array, turned.cell.array)  # of row vectors
        whole, rotated = self.results(atoms, 3), self.results(turned, 3)
        np.testing.assert_allclose(rotated["forces"], whole["forces"] @ rotation, atol=1e-9)
        stress, turned_stress = (_full(results["stress"]) for results in (whole, rotated))
        np.testing.assert_allclose(turned_stress, rotation.T @ stress @ rotation, atol=1e-11)

    # ---- the user's model and torch's state

    def test_the_model_and_the_state_of_torch_are_not_changed(self) -> None:
        model = self.fresh_model()
        parts = _modules_of(model)
        tensors = [
            (t, t.clone(), t.requires_grad)
            for part in parts
            for t in part.state_dict(keep_vars=True).values()
            if isinstance(t, torch.Tensor)
        ]
        modes = [[part.training for part in root.modules()] for root in parts]
        random_state, default = torch.get_rng_state(), torch.get_default_dtype()
        for dtype in DTYPES:
            calculator = self.calculator(3, model, dtype=dtype, recompute=dtype == torch.float32)
            calculator.calculate(self.prepare(oxide().atoms))
        calculator.verify(self.prepare(oxide().atoms))
        assert tensors
        for tensor, values, trainable in tensors:
            assert tensor.dtype == values.dtype
            assert tensor.requires_grad == trainable
            assert torch.equal(tensor, values)
            assert tensor.grad is None
        assert [[part.training for part in root.modules()] for root in parts] == modes
        assert torch.equal(torch.get_rng_state(), random_state)
        assert torch.get_default_dtype() == default

    @pytest.mark.parametrize("default", DTYPES, ids=str)
    def test_parity_whatever_the_default_dtype(self, default: torch.dtype) -> None:
        kind = self.kinds[0]
        with default_dtype(default):
            ours = self.results(oxide().atoms, 2)
            theirs = adapter_for(self.model(kind), torch.float64, **self.options_of(kind)).original()
            theirs.calculate(self.prepare(oxide().atoms), ["energy", "forces"])
            difference = self.calculator(2).verify(self.prepare(oxide().atoms))
        assert difference.forces < EXACT["forces"]
        np.testing.assert_allclose(ours["forces"], theirs.results["forces"], rtol=0, atol=EXACT["forces"])

    @pytest.mark.parametrize("mode", MODES)
    def test_the_callers_modes_play_no_role(self, mode: str) -> None:
        atoms = self.prepare(oxide().atoms)
        expected, model = self.results(atoms, 3)["forces"], self.model(self.kinds[0])
        with MODES[mode]():
            before = modes()
            calculator = self.calculator(3, model)
            calculator.plan(atoms)
            calculator.calculate(atoms)
            within = calculator.results["forces"]
            assert not calculator.check_state(atoms)
            difference = calculator.verify(atoms)
            assert modes() == before
        np.testing.assert_allclose(within, expected, atol=1e-11)
        assert difference.forces < EXACT["forces"]
        calculator.calculate(atoms)  # with what was made in the mode
        np.testing.assert_allclose(calculator.results["forces"], expected, atol=1e-11)

    # ---- bad input

    def test_no_warning_ends_a_calculation_where_warnings_are_errors(self) -> None:
        model, atoms = self.fresh_model(), self.prepare(oxide().atoms)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for recompute in (False, True):
                calculator = self.calculator(2, model, recompute=recompute)
                assert calculator.verify(atoms).forces < EXACT["forces"]

    def test_an_unknown_option_is_named(self) -> None:
        with pytest.raises(InvalidInputError, match="no_such_option"):
            self.calculator(1, no_such_option=1)

    def test_an_unknown_element_is_named(self) -> None:
        calculator = self.calculator(1)
        for number, name in ((118, r"Og \(118\)"), (0, r"X \(0"), (119, "119"), (200, "200"), (-1, "-1")):
            with pytest.raises(UnsupportedElementError, match=f"does not know {name}.*; it knows"):
                calculator.calculate(Atoms([number], cell=[5.0] * 3, pbc=True))
        calculator.calculate(self.prepare(oxide().atoms))  # and nothing is broken

    def test_another_dtype_is_refused(self) -> None:
        with pytest.raises(InvalidInputError, match="float16"):
            self.calculator(1, dtype=torch.float16)


def assert_nothing_is_computed_twice(
    model: Any,
    atoms: Atoms,
    partitions: int | str,
    count: Callable[[torch.nn.Module, Counter[str]], None],
    original: tuple[Any, torch.nn.Module],
    expected: Callable[[str, int, DistCalculator], int],
    **options: Any,
) -> None:
    """Compare the rows that go through submodules over all partitions with those of the undivided original.

    ``count(module, rows)`` registers hooks that count rows by name. ``original`` is the undivided calculator
    and its module. ``expected(name, rows, calculator)`` says how many rows ours may compute where the
    original computes ``rows``: the same, but for what depends on species only.
    """
    their_calculator, module = original
    theirs: Counter[str] = Counter()
    ours: Counter[str] = Counter()
    count(module, theirs)
    their_calculator.calculate(atoms, ["energy", "forces"])
    calculator = DistCalculator(
        model,
        devices="cpu",
        partitions=number_of(partitions, atoms),
        recompute=False,
        skin=0.0,
        kernels="original",  # whose submodules have the hooks
        **options,
    )
    adapter = calculator._adapter
    replicate = adapter.replicate

    def counted_replica(index: int, device: torch.device) -> torch.nn.Module:
        replica = replicate(index, device)
        count(replica, ours)
        return replica

    adapter.replicate = counted_replica  # type: ignore[method-assign]
    calculator.calculate(atoms)
    assert theirs, "the hooks have to count something"
    assert dict(ours) == {name: expected(name, rows, calculator) for name, rows in theirs.items()}


Parts = Iterable[tuple[str, torch.nn.Module]]


def count_outputs(parts: Parts, rows: Counter[str]) -> None:
    """Count the rows of the output in every call of the named submodules."""
    _count(parts, rows, lambda _, output: output)


def count_inputs(parts: Parts, rows: Counter[str]) -> None:
    """Count the rows of the first argument in every call of the named submodules."""
    _count(parts, rows, lambda arguments, _: arguments[0])


def _count(parts: Parts, rows: Counter[str], which: Callable[[Any, Any], torch.Tensor]) -> None:
    def counted(name: str) -> Callable[..., None]:
        def hook(_: torch.nn.Module, arguments: Any, output: Any) -> None:
            rows[name] += len(which(arguments, output))

        return hook

    for name, part in parts:
        part.register_forward_hook(counted(name))


def _full(stress: np.ndarray) -> np.ndarray:
    xx, yy, zz, yz, xz, xy = stress
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


def _modules_of(model: Any) -> list[torch.nn.Module]:
    """The modules of whatever a family takes as a model."""
    if isinstance(model, torch.nn.Module):
        return [model]
    members = model if isinstance(model, list | tuple) else vars(model).values()
    return [member for member in members if isinstance(member, torch.nn.Module)]
