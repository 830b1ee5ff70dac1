"""Commands run in this process, as the shell would run them."""

import gc
import signal
from collections.abc import Iterator

import pytest
from shell import Done, Run

from foldwise.commands.main import main


@pytest.fixture
def foldwise(capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Runs a command by its arguments."""

    def run(*arguments: str) -> Done:
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert isinstance(stopped.value.code, int)
        return Done(stopped.value.code, *capsys.readouterr())

    threshold, handler = gc.get_threshold(), signal.getsignal(signal.SIGTERM)
    yield run
    gc.set_threshold(*threshold)
    signal.signal(signal.SIGTERM, handler)
