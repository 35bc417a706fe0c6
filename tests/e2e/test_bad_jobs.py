"""Jobs that cannot work are refused before they start: exit code 2, and a message that says where and what to do."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
from conftest import MakeSpace
from harness import REFUSED, Workspace
from jobs import IMAGES, IMAGES_NAME, fake_job
from onnx import TensorProto, helper
from rows import check_exact, write_rows


def refused(workspace: Workspace) -> str:
    """Runs a job that must be refused, without a trace in its output; returns what it said, line breaks made spaces."""
    stderr = workspace.run(REFUSED).stderr
    assert not list(workspace.out.rglob("*.parquet"))
    return " ".join(stderr.split())


def line_of(text: str, part: str) -> int:
    """Returns the number of the line that holds `part`, from 1."""
    return text[: text.index(part)].count("\n") + 1


def test_missing_column_is_named_with_the_nearest_one(space: MakeSpace) -> None:
    """A slip in a column's name."""
    workspace = space(fake_job().replace('select = ["id", "text"', 'select = ["id", "txet"'))
    write_rows(workspace.input, 8)
    said = refused(workspace)
    assert "txet" in said, said
    assert 'did you mean "text"' in said or "did you mean 'text'" in said, said


def test_unknown_key_is_shown_with_its_line(space: MakeSpace) -> None:
    """A slip in a key of the job file."""
    text = fake_job().replace("batch_rows = 64", "batch_row = 64")
    workspace = space(text)
    write_rows(workspace.input, 8)
    said = refused(workspace)
    assert "batch_row" in said, said
    assert 'did you mean "batch_rows"' in said, said
    assert f"job.toml:{line_of(text, 'batch_row = 64')}:" in said, said


def other_shape(path: Path) -> None:
    """Writes a valid ONNX file that takes 28 x 28 grey pixels instead of 16 x 16 RGB."""
    node = helper.make_node("ReduceMax", ["pixels"], ["label"], keepdims=0, axes=[1, 2, 3])
    given = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", 28, 28, 1])
    answer = helper.make_tensor_value_info("label", TensorProto.FLOAT, ["N"])
    model = helper.make_model(
        helper.make_graph([node], "other", [given], [answer]), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def test_wrong_model_shape_names_input_expected_and_given(space: MakeSpace, digit_files: Path) -> None:
    """A model made for other pictures."""
    workspace = space(IMAGES.replace("examples/digits/digits.onnx", "${MODEL}"), IMAGES_NAME)
    workspace.environment["MODEL"] = str(workspace.folder / "other.onnx")
    other_shape(workspace.folder / "other.onnx")
    shutil.copytree(digit_files, workspace.input)
    said = refused(workspace)
    for part in ("pixels", "28", "16"):
        assert part in said, said


def test_missing_variable_is_named(space: MakeSpace) -> None:
    """`${NAME}` without NAME in the environment."""
    workspace = space(fake_job().replace("${OUT}", "${FOREBAY_TEST_NOT_SET}"))
    write_rows(workspace.input, 8)
    assert "FOREBAY_TEST_NOT_SET" in refused(workspace)


def test_missing_input_is_named(space: MakeSpace) -> None:
    """No file matches the source's path."""
    workspace = space()
    workspace.input.mkdir()
    assert str(workspace.input) in refused(workspace)


def test_used_checkpoints_without_resume_are_refused(space: MakeSpace) -> None:
    """Nobody starts from zero over an old checkpoint by accident."""
    workspace = space()
    write_rows(workspace.input, 64)
    workspace.run()
    said = workspace.run(REFUSED).stderr
    assert "--resume latest" in said, said


def test_another_jobs_output_is_left_alone_also_when_there_is_nothing_to_resume(space: MakeSpace) -> None:
    """`--resume latest` over new checkpoints is a start from nothing: what lies in the sink is not this job's."""
    workspace = space()
    write_rows(workspace.input, 8)
    workspace.run()
    before = check_exact(workspace.out, 8)
    shutil.rmtree(workspace.checkpoints)
    for resume in (None, "latest", "latest"):
        said = workspace.run(REFUSED, resume=resume).stderr
        assert "the folder holds another job's output" in " ".join(said.split()), said
    assert check_exact(workspace.out, 8) == before


def test_log_in_a_folder_that_does_not_exist_is_refused(space: MakeSpace) -> None:
    """Not a dead letter for each row."""
    workspace = space(fake_job().replace("${EXECUTIONS}", "${INPUT}/nowhere/log"))
    write_rows(workspace.input, 8)
    assert str(workspace.input / "nowhere") in refused(workspace)


def test_another_plan_is_not_restored(space: MakeSpace) -> None:
    """State of one job cannot become that of another."""
    workspace = space()
    write_rows(workspace.input, 64)
    workspace.run()
    workspace.job_file.write_text(fake_job().replace('uid = "ask"', 'uid = "other"'))
    said = workspace.run(REFUSED, resume="latest").stderr
    assert "another plan" in said, said
    workspace.job_file.write_text(fake_job())
    workspace.run(resume="latest")
