"""What users of fairchem have: predict units and calculators with their settings, and what is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from fairchem.core.calculate.ase_calculator import FAIRChemCalculator, FormationEnergyCalculator
from fairchem.core.models.base import HydraModelV2
from fairchem.core.models.uma.escn_md import Linear_Force_Head, MLP_EFS_Head
from fairchem.core.units.mlip_unit.api.inference import UMATask
from support.esen_models import (
    BY_DATASET,
    DIRECT,
    EFS,
    EXPERTS,
    NARROW,
    assert_same_results,
    build,
    charged,
    results_of,
    unit,
)
from support.structures import STRUCTURES, oxide, oxide_cell, rattled
from support.torch_globals import torch_globals

from distmlip import DistCalculator
from distmlip.errors import InvalidInputError, UnsupportedModelError

UMA = NARROW["uma"]


# ---- predict units and calculators


@pytest.mark.parametrize("dataset", ["omat", "omol"])
def test_a_calculator_of_fairchem(dataset: str, tmp_path: Path) -> None:
    theirs = FAIRChemCalculator(unit(tmp_path, **UMA), dataset)
    ours = DistCalculator(theirs, partitions=3, devices="cpu")
    assert {"energy", "forces", "stress", "free_energy"} == set(theirs.implemented_properties)
    for structure in ("oxide", "metal_with_vacancies", "thin_in_one_direction", "outside_the_cell"):
        atoms = charged(STRUCTURES[structure]().atoms)
        results = results_of(ours, atoms)
        assert_same_results(results, results_of(theirs, atoms))
        np.testing.assert_allclose(results["energies"].sum(), results["energy"], atol=1e-9)
        assert results["energies"].shape == (len(atoms),)


def test_a_predict_unit_needs_to_be_told_the_task(tmp_path: Path) -> None:
    atoms, predict_unit = charged(oxide().atoms), unit(tmp_path, **UMA)
    with pytest.raises(InvalidInputError, match=r"task_name=None.*'omat', 'omol'"):
        DistCalculator(predict_unit)
    with pytest.raises(InvalidInputError, match=r"task_name='oc20'.*'omat', 'omol'"):
        DistCalculator(predict_unit, task_name="oc20")
    for task_name in ("omol", UMATask.OMOL):
        theirs = results_of(FAIRChemCalculator(predict_unit, task_name), atoms)
        assert_same_results(results_of(DistCalculator(predict_unit, task_name=task_name), atoms), theirs)
    ours = DistCalculator(FAIRChemCalculator(predict_unit, "omat"), task_name="omol")
    assert_same_results(results_of(ours, atoms), theirs)


def test_direct_forces_of_a_predict_unit(tmp_path: Path) -> None:
    atoms, theirs = charged(oxide().atoms), FAIRChemCalculator(unit(tmp_path, **DIRECT["alone"]))
    results = results_of(theirs, atoms)
    assert_same_results(results_of(DistCalculator(theirs, partitions=3, devices="cpu"), atoms), results)
    assert set(results) == {"energy", "free_energy", "forces", "stress"}


SETTINGS: dict[str, tuple[dict[str, Any], float]] = {
    "checkpointing": ({"activation_checkpointing": True}, 1e-9),
    "tf32": ({"tf32": True, "edge_chunk_size": 100}, 1e-9),
    "first graphs": ({"internal_graph_gen_version": 1}, 1e-9),
    "external graphs": ({"external_graph_gen": True}, 1e-9),
    "Euler angles": ({"use_quaternion_wigner": False}, 1e-9),
    # fairchem rounds the experts that it merges to float32.
    "merged": ({"merge_mole": True}, 1e-3),
    "fast": ({"merge_mole": True, "execution_mode": "umas_fast_pytorch"}, 1e-3),
}


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("name", SETTINGS)
def test_inference_settings(name: str, used: bool, tmp_path: Path) -> None:
    settings, atol = SETTINGS[name]
    predict_unit = unit(tmp_path, settings=settings, **UMA)
    theirs = FAIRChemCalculator(predict_unit, "omat")
    atoms, other = charged(oxide().atoms), charged(STRUCTURES["metal_with_vacancies"]().atoms)
    if used:
        expected = results_of(theirs, atoms)
    random_state = torch.get_rng_state()
    ours = DistCalculator(theirs, partitions=3, devices="cpu")
    results = results_of(ours, atoms)
    assert torch.equal(torch.get_rng_state(), random_state)
    if not used:
        expected = results_of(theirs, atoms)
    assert_same_results(results, expected, atol)
    for structure in (atoms, other):  # also after the unit has changed its model
        verification = ours.verify(structure)
        assert verification.forces <= 1e-9
        assert verification.energy_per_atom <= 1e-10


def test_fairchems_default_settings(tmp_path: Path) -> None:
    """They merge and compile the model at its first prediction; until then it is as it was."""
    settings = {"tf32": True, "merge_mole": True, "compile": True, "nitro": True}
    predict_unit = unit(tmp_path, settings=settings, **UMA)
    assert DistCalculator(predict_unit, task_name="omat").verify(charged(oxide().atoms)).forces <= 1e-9
    predict_unit.model = torch.compile(predict_unit.model)  # compiles nothing before it is called
    assert DistCalculator(predict_unit, task_name="omat").verify(charged(oxide().atoms)).forces <= 1e-9


def test_a_unit_whose_model_is_another_now_is_loaded_again(tmp_path: Path) -> None:
    predict_unit, atoms = unit(tmp_path, **UMA), charged(oxide().atoms)
    expected = results_of(DistCalculator(predict_unit, task_name="omat"), atoms)
    predict_unit.model = torch.nn.ModuleDict({"module": torch.nn.Identity()})  # as the nitro model would be
    predict_unit.model.module = torch.nn.Identity()
    calculator = DistCalculator(predict_unit, task_name="omat")
    np.testing.assert_array_equal(results_of(calculator, atoms)["forces"], expected["forces"])
    (tmp_path / "inference_ckpt.pt").unlink()
    with pytest.raises(UnsupportedModelError, match=r"merge_mole.*inference_ckpt.pt.*'batch'"):
        DistCalculator(predict_unit, task_name="omat")


def test_the_unit_is_not_changed(tmp_path: Path) -> None:
    predict_unit = unit(tmp_path, settings={"merge_mole": True}, **UMA)
    before = {name: (tensor, tensor.clone()) for name, tensor in predict_unit.model.state_dict().items()}
    settings, model = copy.deepcopy(predict_unit.inference_settings), predict_unit.model
    for dtype in ("float32", "float64"):
        calculator = DistCalculator(predict_unit, task_name="omat", dtype=dtype)
        calculator.verify(charged(oxide().atoms))
    assert predict_unit.model is model
    assert predict_unit.inference_settings == settings
    assert not predict_unit.lazy_model_intialized
    after = predict_unit.model.state_dict()
    assert list(after) == list(before)
    for name, (tensor, values) in before.items():
        assert after[name].data_ptr() == tensor.data_ptr()
        assert torch.equal(tensor, values)


def test_float32_is_that_of_a_unit_in_float32(tmp_path: Path) -> None:
    predict_unit, atoms = (
        unit(tmp_path, settings={"base_precision_dtype": torch.float32}, **UMA),
        oxide().atoms,
    )
    ours = DistCalculator(predict_unit, task_name="omat", partitions=2, devices="cpu")
    assert ours.parameters["dtype"] == "float32"
    theirs = results_of(FAIRChemCalculator(predict_unit, "omat"), atoms)
    assert_same_results(results_of(ours, atoms), theirs, 1e-3)
    exact = DistCalculator(predict_unit, task_name="omat", partitions=2, devices="cpu", dtype="float64")
    assert exact.verify(atoms).forces <= 1e-9


# ---- what the model reads of atoms.info


def test_charge_and_spin_have_fairchems_defaults(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    predict_unit = unit(tmp_path, **UMA)
    for task_name, spin in (("omat", 0), ("omol", 1)):
        ours = DistCalculator(predict_unit, task_name=task_name)
        atoms = oxide().atoms
        caplog.clear()
        left_out = results_of(ours, atoms)["energy"]
        told = [record for record in caplog.records if record.name.startswith("distmlip")]
        assert ["no charge and no spin" in record.getMessage() for record in told] == [True] * (spin > 0)
        assert atoms.info.keys().isdisjoint({"charge", "spin"})
        assert results_of(ours, charged(oxide().atoms, 0, spin))["energy"] == left_out
        theirs = FAIRChemCalculator(predict_unit, task_name)
        assert results_of(theirs, oxide().atoms)["energy"] == pytest.approx(left_out, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("charge", 0.5, "float"),
        ("charge", 101, "-100 to 100"),
        ("charge", "one", "str"),
        ("spin", -1, "0 to 100"),
        ("spin", 1.0, "float"),
    ],
)
def test_charge_and_spin_are_checked(name: str, value: Any, message: str) -> None:
    calculator = DistCalculator(build(), devices="cpu")
    atoms = charged(oxide().atoms)
    atoms.info[name] = value
    with pytest.raises(InvalidInputError, match=rf"atoms\.info.*{name}.*{message}"):
        calculator.get_property("energy", atoms)
    atoms.info[name] = np.int64(1)
    assert np.isfinite(calculator.get_property("energy", atoms))


# ---- one atom alone


def lone(symbol: str, **info: int) -> Atoms:
    atoms = Atoms(symbol, positions=[[0.1, 0.2, 0.3]])
    atoms.info.update(info)
    return atoms


def test_the_energy_of_a_lone_atom_is_looked_up(tmp_path: Path) -> None:
    predict_unit = unit(tmp_path, **UMA)
    predict_unit.atom_refs = {"omat": {8: -1.7, 1: {0: -0.5, 1: 13.1}}}
    theirs = FAIRChemCalculator(predict_unit, "omat")
    ours = DistCalculator(theirs, partitions=2, devices="cpu")
    for atoms in (lone("O"), lone("H"), lone("H", charge=1)):
        expected = results_of(theirs, atoms)
        assert expected.pop("stress").tolist() == [0.0] * 6  # of a cell that is not there
        results = results_of(ours, atoms)
        assert_same_results(results, expected)
        assert results["energies"].tolist() == [results["energy"]]
    for atoms in (lone("Cu"), lone("H", charge=2)):
        with pytest.raises(InvalidInputError, match=r"one atom alone.*atom_refs"):
            ours.calculate(atoms)
    crystal = Atoms("Cu", cell=[3.0] * 3, pbc=True)  # of which the model has an energy
    assert_same_results(results_of(ours, crystal), results_of(theirs, crystal))


def test_a_lone_atom_has_no_forces_even_if_a_head_predicts_them(tmp_path: Path) -> None:
    predict_unit = unit(tmp_path, **DIRECT["alone"])
    predict_unit.atom_refs = {"omat": {8: -1.7}}
    theirs = FAIRChemCalculator(predict_unit)
    assert predict_unit.tasks["forces"].normalizer.mean != 0
    expected = results_of(theirs, lone("O"))
    assert not expected["forces"].any()
    assert not expected["stress"].any()
    assert_same_results(results_of(DistCalculator(theirs, partitions=2), lone("O")), expected)


def test_a_lone_atom_without_a_table(tmp_path: Path) -> None:
    ours = DistCalculator(unit(tmp_path, **UMA), task_name="omat")
    with pytest.raises(InvalidInputError, match="atom_refs"):
        ours.calculate(lone("O"))
    ours.calculate(oxide().atoms)  # and nothing is broken


def test_a_lone_atom_of_a_model_that_was_made_for_it(tmp_path: Path) -> None:
    predict_unit = unit(tmp_path, **UMA)
    predict_unit.model.module.supports_single_atoms = True
    theirs = FAIRChemCalculator(predict_unit, "omat")
    expected = results_of(theirs, lone("O"))
    expected.pop("stress")  # of a cell that is not there
    assert_same_results(results_of(DistCalculator(theirs, partitions=2), lone("O")), expected)


# ---- normalisers


def test_tasks_without_forces_or_stress(tmp_path: Path) -> None:
    """fairchem adds a stress task with the energy's normaliser, whose mean is no part of a derivative."""
    model = build(**UMA)
    for task in list(model.tasks.values()):
        if task.property != "energy":
            del model.tasks[task.name]
            model.dataset_to_tasks[task.datasets[0]].remove(task)
    calculator = DistCalculator(model, task_name="omat", partitions=2, devices="cpu")
    verification = calculator.verify(charged(oxide().atoms))
    assert verification.forces <= 1e-9
    whole = DistCalculator(build(**UMA), task_name="omat")
    for name, value in results_of(whole, charged(oxide().atoms)).items():
        np.testing.assert_allclose(results_of(calculator, charged(oxide().atoms))[name], value, atol=1e-9)


def test_a_stress_with_a_constant_is_not_compared() -> None:
    model = build()
    model.tasks["stress"].normalizer.mean.fill_(0.3)
    calculator = DistCalculator(model, partitions=2, devices="cpu")
    assert calculator.verify(oxide().atoms).stress is None
    np.testing.assert_allclose(
        results_of(calculator, oxide().atoms)["stress"],
        results_of(DistCalculator(build()), oxide().atoms)["stress"],
    )


def test_forces_with_a_constant_are_refused() -> None:
    model = build()
    model.tasks["forces"].normalizer.mean.fill_(0.3)
    with pytest.raises(UnsupportedModelError, match=r"forces has mean 0\.3"):
        DistCalculator(model)


def test_normalisers_of_components_are_refused() -> None:
    model = build()
    model.tasks["forces"].normalizer.rmsd = torch.ones(3)
    with pytest.raises(UnsupportedModelError, match="'forces' has a value per component"):
        DistCalculator(model)


def test_references_limit_the_elements() -> None:
    model = build()
    references = model.tasks["energy"].element_references
    references.element_references = references.element_references[:26].float()
    calculator = DistCalculator(model, partitions=3, devices="cpu")
    with pytest.raises(InvalidInputError, match=r"Cu \(29\)"):
        calculator.calculate(STRUCTURES["metal_with_vacancies"]().atoms)
    verification = calculator.verify(oxide().atoms)  # sums references in float32, as fairchem does
    assert verification.energy_per_atom <= 1e-10


# ---- what is refused


def broken(change: Callable[[Any], None], **changes: Any) -> Any:
    model = build(**changes)
    change(model)
    return model


def with_own_forward(model: Any) -> None:
    class Own(type(model.backbone)):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return super().forward(*args, **kwargs)

    model.backbone.__class__ = Own


def with_another_head(model: Any) -> None:
    class Own(type(model.output_heads["efs"])):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return super().forward(*args, **kwargs)

    model.output_heads["efs"].__class__ = Own


def with_hessians(model: Any) -> None:
    model.backbone.regress_config.hessian = True


def with_another_block(model: Any) -> None:
    model.backbone.blocks[1] = torch.nn.Sequential()
    model.backbone.blocks[1].edge_wise = torch.nn.Identity()


def prepared(model: Any) -> None:
    from fairchem.core.models.uma.nn.execution_backends import UMASFastPytorchBackend

    UMASFastPytorchBackend.prepare_model_for_inference(model.backbone)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "backbone": (lambda: broken(with_own_forward), r"backbone is of type .*Own; only eSCNMDBackbone"),
    "head": (
        lambda: broken(with_another_head),
        "no head .* gives energy and forces and stress; the model has .*Own",
    ),
    "block": (lambda: broken(with_another_block), r"blocks\.1 .* Sequential"),
    "Hessians": (lambda: broken(with_hessians), "Hessians"),
    "prepared": (lambda: broken(prepared), "SO2_Conv1_WithRadialBlock, made for one execution mode"),
    "experts": (lambda: build(**{**EXPERTS, "moe_layer_type": "dgl"}), "moe_layer_type='dgl'"),
    "channels": (
        lambda: build(charge_balanced_channels=[0, 1], spin_balanced_channels=[1]),
        r"charge_balanced_channels \[0, 1\] and spin_balanced_channels \[1\] overlap",
    ),
    "two heads": (
        lambda: build(
            tasks=False, heads={"one": EFS["efs"], "two": EFS["efs"]}, dataset_mapping={"omat": "omat"}
        ),
        "heads 'one' and 'two' both give energy",
    ),
    "direct stress": (
        lambda: build(
            tasks=False,
            heads={**EFS, "stress": DIRECT["alone"]["heads"]["stress"]},
            regress_stress=False,
            dataset_mapping={"omat": "omat"},
        ),
        "leave out the stress head",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_part_that_cannot_be_distributed_is_named(name: str) -> None:
    make, message = REFUSED[name]
    with pytest.raises(UnsupportedModelError, match=message):
        DistCalculator(make())


def test_a_merged_model_is_refused(tmp_path: Path) -> None:
    predict_unit = unit(tmp_path, settings={"merge_mole": True}, **UMA)
    results_of(FAIRChemCalculator(predict_unit, "omat"), oxide().atoms)
    with pytest.raises(UnsupportedModelError, match="merged for one composition"):
        DistCalculator(predict_unit.model.module, task_name="omat")


def test_other_things_of_fairchem_are_refused(tmp_path: Path) -> None:
    calculator = FormationEnergyCalculator(
        FAIRChemCalculator(unit(tmp_path, **UMA), "omat"), element_references={}, apply_corrections=False
    )
    with pytest.raises(UnsupportedModelError, match=r"FormationEnergyCalculator.*FAIRChemCalculator"):
        DistCalculator(calculator)
    with pytest.raises(UnsupportedModelError, match=r"eSCNMDBackbone of fairchem.*pair"):
        DistCalculator(build().backbone)


def test_a_list_of_models_is_no_committee() -> None:
    with pytest.raises(UnsupportedModelError, match=r"\(HydraModel, HydraModel\) is not a pair.*committees"):
        DistCalculator([build(), build()])


def test_two_force_heads_are_refused() -> None:
    backbone = build(tasks=False, dataset_mapping={"omat": "omat"}).backbone
    with torch_globals(0, torch.float64):
        heads = {"efs": MLP_EFS_Head(backbone), "direct": Linear_Force_Head(backbone)}
    with pytest.raises(UnsupportedModelError, match="'efs' and 'direct' both give forces"):
        DistCalculator(HydraModelV2(backbone, heads))


def test_datasets_are_asked_for_where_there_are_several() -> None:
    model = build(tasks=False, heads=BY_DATASET)
    with pytest.raises(InvalidInputError, match=r"task_name=None.*'omat', 'omat_subset', 'omol'"):
        DistCalculator(model)
    plain = build(tasks=False, use_dataset_embedding=False)
    with pytest.raises(InvalidInputError, match="tells no tasks apart"):
        DistCalculator(plain, task_name="omat")
    assert DistCalculator(plain).verify(rattled(oxide_cell(), 0.05)).forces <= 1e-9


def test_external_graphs_have_a_cutoff_and_a_limit_of_neighbors(tmp_path: Path) -> None:
    settings = {"external_graph_gen": True}
    with pytest.raises(UnsupportedModelError, match=r"external_graph_gen=True.*6\.0 Ang.*6\.5 Ang"):
        DistCalculator(unit(tmp_path, settings=settings, cutoff=6.5))
    calculator = DistCalculator(unit(tmp_path, settings=settings))
    with pytest.raises(InvalidInputError, match=r"neighbours within 4\.5 Ang.*300.*external_graph_gen"):
        calculator.calculate(Atoms("H", cell=[1.0] * 3, pbc=True))


def test_a_backbone_that_makes_everything_periodic_is_refused(tmp_path: Path) -> None:
    predict_unit = unit(tmp_path, settings={"internal_graph_gen_version": 1})
    predict_unit.model.module.backbone.always_use_pbc = True
    with pytest.raises(UnsupportedModelError, match="always_use_pbc=True"):
        DistCalculator(predict_unit)


def test_hessians_of_a_unit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="predict_untrained_hessian"):
        DistCalculator(unit(tmp_path, settings={"predict_untrained_hessian": {"omat"}}))
