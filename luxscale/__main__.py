"""``python -m luxscale``: the command line."""

import atexit
import os
import signal
import sys

from luxscale import stop


class _End:
    """What happens last: a process whose command has ended ends before Python takes itself apart.

    That would take half a second, and a library that was stopped while it loaded may crash as it is
    unloaded.
    """

    #: None while no command has ended, as after an error that nobody foresaw.
    status: int | None = None

    def leave(self) -> None:
        # what is finished is not stopped any more
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if self.status is None:
            return
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (OSError, ValueError):  # Python says so as it ends
            return
        os._exit(self.status)


def run() -> None:
    """Run the command that was given, and end this process."""
    end = _End()
    atexit.register(end.leave)  # what is registered first is called last
    try:
        if stop.may_handle():  # until the command itself does, which has more to say
            signal.signal(signal.SIGINT, stop.end_at_once)
        _run_command()
    except KeyboardInterrupt:
        print(stop.AGAIN, file=sys.stderr)
        end.status = stop.STATUS
        sys.exit(stop.STATUS)
    except SystemExit as ended:
        end.status = int(ended.code or 0)
        raise
    finally:
        if end.status == stop.STATUS:
            # Python would first wait for all threads; one of an executor that Ctrl-C cut off as it
            # was started is never told to end
            atexit._run_exitfuncs()


def _run_command() -> None:
    # here, for Ctrl-C may come meanwhile
    from luxscale.cli import main
    from luxscale.cli.interrupt import leave_on_interrupt
    from luxscale.model.programs import keep_programs

    keep_programs()
    try:
        main(prog_name="luxscale")
    except SystemExit as end:
        leave_on_interrupt(int(end.code or 0))
        raise


if __name__ == "__main__":
    run()
