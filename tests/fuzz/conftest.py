"""The rates of fuzzing stand at the end of the report."""

from fuzzing import FUZZ_S, RATES


def pytest_terminal_summary(terminalreporter):
    if not FUZZ_S:
        return
    for name, (n_examples, seconds) in RATES.items():
        what = f"{n_examples} examples" if n_examples else "FAILED"
        terminalreporter.write_line(
            f"{name}: {what} in {seconds:.0f} s, {n_examples / seconds:.0f} a second"
        )
