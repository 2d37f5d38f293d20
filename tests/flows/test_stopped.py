"""Ctrl-C is one line at any time, not a traceback."""

import logging
import signal
import subprocess
import sys
from functools import partial

import pytest
from micro import ROOT

import flows.cli.stage
import flows.repro
from flows.synth_pipeline import STAGES, stage_flow


def interrupt(*arguments: object, **options: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_stopped_while_it_imports(
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", ["flows"])
    monkeypatch.setattr(flows.cli.stage, "import_module", interrupt)
    with pytest.raises(SystemExit) as ended:
        flows.cli.stage.run_stage(stage_flow(name), "")
    assert ended.value.code == 128 + signal.SIGINT
    said = capsys.readouterr().err.splitlines()
    assert said == [f"{name}: starting ...", f"stopped. {flows.cli.stage.STOPPED}"]


def test_the_main_job_stopped_before_it_has_begun(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", ["flows"])
    monkeypatch.setattr(flows.repro, "prefect_server", interrupt)
    assert flows.repro.main() == 128 + signal.SIGINT
    assert capsys.readouterr().err.startswith("stopped. What is finished is kept")


@pytest.mark.parametrize(
    "message",
    [
        "Crash detected! Execution was aborted by the keyboard",
        "Finished in state Crashed('Execution was interrupted by an unexpected exception')",
        "Finished in state Failed('not finite')",
    ],
)
def test_the_console_leaves_out_what_the_command_says_itself(message: str) -> None:
    record = logging.LogRecord("prefect.task_runs", logging.ERROR, "", 0, message, (), None)
    assert not flows.cli.stage._Duplicates().filter(record)


def test_a_process_that_read_images_and_was_killed_is_one_message(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def killed() -> None:
        raise RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed. ")

    assert flows.cli.stage.exit_status(killed) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert "compute.loader_workers" in said
    assert said.endswith(flows.cli.stage.STOPPED)


def test_ctrl_c_while_libraries_are_imported_is_one_line_too() -> None:
    code = "import flows, os, signal; os.kill(os.getpid(), signal.SIGINT)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        # tests that run in the background of a script ignore it, and so would what they start
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    assert done.returncode == -signal.SIGINT
    assert done.stderr == "stopped. What is finished is kept; the same command resumes.\n"
