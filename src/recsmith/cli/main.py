"""``recsmith``: the verbs put together, and the one place where errors become words and an exit status."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from recsmith.cli import (
    ab,
    audit,
    auto,
    data,
    doctor,
    experiment,
    judge,
    off_policy,
    quickstart,
    report,
    serve,
    train,
    tune,
    use,
)
from recsmith.errors import RecsmithError
from recsmith.redaction import redacted
from recsmith.version import __version__

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
#: How long PyTorch's threads wait awake for one another: some 30 microseconds. By its default, milliseconds, a training
#: of short steps took eight times as long beside another busy process as alone; with no waiting awake, twice as long.
_SPINS = "10000"
_USAGE_ERROR = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="recsmith",
    help="Recommenders from a log to production. Start with: recsmith quickstart",
    epilog="Exit status: 0 fine, 1 failed, 2 bad input. Every verb has --json and --help.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("quickstart")(quickstart.quickstart)
app.add_typer(data.app, name="data")
app.command("train")(train.train)
app.command("tune")(tune.tune)
app.command("auto")(auto.auto)
app.command("run")(experiment.run)
app.command("compare-runs")(experiment.compare_runs)
app.command("evaluate")(judge.evaluate)
app.command("compare")(judge.compare)
app.command("audit")(audit.audit)
app.add_typer(ab.app, name="ab")
app.command("report")(report.report)
app.command("off-policy")(off_policy.off_policy)
app.command("recommend")(use.recommend)
app.command("similar")(use.similar)
app.command("predict")(use.predict)
app.command("info")(use.info)
app.command("serve")(serve.serve)
app.command("retrain")(serve.retrain)
app.add_typer(serve.keys, name="keys")
app.command("doctor")(doctor.doctor)


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        print(__version__)
    elif context.invoked_subcommand is None:
        print(context.get_help())
    else:
        return
    raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status; nothing is raised.

    Parameters
    ----------
    arguments
        Without the program's name; None for those of this process.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = app(args=given, prog_name="recsmith", standalone_mode=False)
        sys.stdout.flush()
    except SystemExit as error:  # the reader of standard output has gone
        return error.code if isinstance(error.code, int) else FAILED
    except BrokenPipeError:
        _forget_stdout()
        return FAILED
    except KeyboardInterrupt:
        status = INTERRUPTED
    except Exception as error:
        lost = isinstance(error, OSError) and not _can_flush()
        if lost:
            _forget_stdout()
        if os.environ.get("RECSMITH_DEBUG"):
            import traceback

            print(redacted(traceback.format_exc()), file=sys.stderr)
        return _report(error, as_json="--json" in given and not lost)
    if status == INTERRUPTED:
        print("Stopped. Nothing was left half-written.", file=sys.stderr)
    return status if isinstance(status, int) else 0


def run() -> None:
    """The entry point of the ``recsmith`` command: a process that is told to end cleans up as with Ctrl-C."""
    os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
    received: list[int] = []

    def stop(number: int, _: Any) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second one ends at once
        received.append(number)
        raise KeyboardInterrupt

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:  # nohup's wish is kept
            signal.signal(number, stop)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # an id that the encoding has no letters for
    status = main()
    sys.exit(128 + received[0] if received and status == INTERRUPTED else status)


def _report(error: Exception, *, as_json: bool) -> int:
    """Say what went wrong; returns the exit status."""
    if isinstance(error, _USAGE_ERROR) and not as_json:
        error.show()  # type: ignore[attr-defined]
        return BAD_INPUT
    message, status = _words(error)
    message = redacted(message)
    if as_json:
        from recsmith.cli.console import json_text

        kind = "UsageError" if isinstance(error, _USAGE_ERROR) else type(error).__name__
        try:
            print(json_text({"error": {"type": kind, "message": message}}), flush=True)
            return status
        except OSError:  # standard output takes nothing
            _forget_stdout()
    print(f"Error: {message}", file=sys.stderr)
    return status


def _words(error: Exception) -> tuple[str, int]:
    """A message for people, and the exit status."""
    if isinstance(error, RecsmithError):
        return str(error), error.exit_status
    if isinstance(error, _USAGE_ERROR):
        return str(error.format_message()), BAD_INPUT  # type: ignore[attr-defined]
    if isinstance(error, MemoryError):
        return "There is not enough memory for this. --dry-run tells how much a verb needs.", FAILED
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return (
            f"{where}{error.strerror or error}. Check the path, its permissions and the room on the disk.",
            FAILED,
        )
    first = (str(error).strip() or "no message").splitlines()[0]
    return f"{type(error).__name__}: {first}\nSet RECSMITH_DEBUG=1 for the traceback.", FAILED


def _can_flush() -> bool:
    """Whether standard output takes what is buffered; a full disk behind it does not."""
    try:
        sys.stdout.flush()
    except OSError:
        return False
    return True


def _forget_stdout() -> None:
    """Send what is still buffered nowhere, so that the end of the process stays quiet."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
