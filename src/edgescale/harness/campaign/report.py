"""What a person sees of a campaign."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgescale.harness.campaign.failures import Bug, Counterexample
from edgescale.harness.campaign.ledger import Ledger
from edgescale.harness.campaign.reach import Hunt, Named, all_caught, median_seeds
from edgescale.harness.campaign.result import RUN
from edgescale.harness.checkers import CHECKERS
from edgescale.harness.plan import Plan

WIDTH = 120
SEEDS_TOLD = 10


def console_of() -> Console:
    """Standard output; where that is no terminal, lines are as wide as timelines are."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH)


def print_ledger(console: Console, ledger: Ledger) -> None:
    """Verdicts, figures, what was reached and what was not."""
    console.print(_grid(ledger))
    figures = Table.grid(padding=(0, 2))
    figures.add_column(justify="right", style="bold", no_wrap=True)
    for name, figure in _figures(ledger):
        figures.add_row(name, Text(figure))
    console.print(figures)
    console.print()


def _grid(ledger: Ledger) -> Table:
    under = f" under the mutant {ledger.mutant}" if ledger.mutant else ""
    table = Table("", "promise", title=f"{_runs(ledger.runs)}{under}", title_justify="left")
    for name in ("valid", "invalid", "unknown", "first seed"):
        table.add_column(name, justify="right")
    failed = ledger.failed
    table.add_row(RUN, "it ends by itself", f"{ledger.runs - failed:,}", _red(failed), "0", _seed(ledger, RUN))
    for checker in CHECKERS:
        counts = ledger.grid()[checker.promise]
        told = [f"{counts['valid']:,}", _red(counts["invalid"]), _red(counts["unknown"])]
        table.add_row(checker.promise, checker.title, *told, _seed(ledger, checker.promise))
    return table


def _seed(ledger: Ledger, promise: str) -> str:
    seed = ledger.first_failure(promise)
    return "" if seed is None else str(seed)


def _red(count: int) -> str:
    return f"[red]{count:,}[/]" if count else "0"


def _figures(ledger: Ledger) -> Iterable[tuple[str, str]]:
    yield "commit", ledger.commit or "unknown"
    yield "speed", f"{ledger.seeds_per_s:,.1f} seeds/s, {ledger.wall_s:,.1f} s, {ledger.cpu_s:,.1f} CPU seconds"
    yield "requests", f"{ledger.requests:,} ended, {ledger.requests_per_cpu_s:,.0f} per CPU second"
    simulated = f"{ledger.virtual_s / 3600:,.2f} hours, {ledger.compression:,.0f} times as fast as a CPU's time"
    yield "simulated", simulated
    kinds = len(ledger.faults)
    pairs = f"{len(ledger.pairs)} of {kinds * (kinds - 1) // 2} pairs overlapped"
    yield "faults", f"{sum(ledger.faults.values()):,} of {kinds} kinds, {pairs}"
    hit = [f"{name} {runs:,}" for name, runs in ledger.markers.most_common()]
    yield "markers hit", f"{len(hit)}, in so many runs: {', '.join(hit) or 'none'}"
    yield "never hit", ", ".join(ledger.never) or "none: all were hit"
    if ledger.twice:
        same = f"{ledger.twice - len(ledger.unlike):,} of {ledger.twice:,} seeds left the same trace when run again"
        unlike = f"; not {', '.join(map(str, sorted(ledger.unlike)[:SEEDS_TOLD]))}" if ledger.unlike else ""
        yield "replay", same + unlike


def replay_line(seed: int, mutant: str = "") -> str:
    """The command that runs this seed again."""
    return f"edgescale simulate --from {seed} --seeds 1" + (f" --mutant {mutant}" if mutant else "")


def plan_line(path: Path, mutant: str = "") -> str:
    """The command that runs this plan again."""
    return f"edgescale simulate --plan {path}" + (f" --mutant {mutant}" if mutant else "")


def print_bugs(console: Console, ledger: Ledger, bugs: Sequence[Bug], small: Sequence[Counterexample]) -> None:
    """Each bug: what is wrong, how to see it again, and its smallest counterexample."""
    shrunk = {item.bug.offence.key: item for item in small}
    for bug in bugs:
        offence = bug.offence
        console.print(Text.assemble((f"{offence.promise} {offence.rule}", "bold red"), f" in {_seeds(bug.seeds)}"))
        _plain(console, f"  {offence.sentence}")
        _plain(
            console, f"  commit {ledger.commit or 'unknown'}, seed {bug.first.seed}: {ledger.replays[bug.first.seed]}"
        )
        item = shrunk.get(offence.key)
        if item is not None:
            _plain(console, f"  {plan_line(item.path, ledger.mutant)}  (shrunk: {size_of(item.plan)})")
        _plain(console, f"\n{item.offence.story if item is not None else offence.story}")


def _seeds(seeds: Sequence[int]) -> str:
    told = ", ".join(map(str, seeds[:SEEDS_TOLD])) + (", …" if len(seeds) > SEEDS_TOLD else "")
    return f"{_runs(len(seeds))}: {told}"


def _runs(count: int) -> str:
    return f"{count:,} run{'' if count == 1 else 's'}"


def size_of(plan: Plan) -> str:
    """What is left in a plan that was made small."""
    size = f"{len(plan.requests)} requests, {len(plan.faults)} faults"
    if plan.shuffled_to < 0:
        return size
    turns = plan.shuffled_to - plan.shuffled_from
    return f"{size}, {f'the order of {turns} turns' if turns else 'all in order'}"


def print_mutants(console: Console, mutants: Sequence[Named]) -> None:
    """All mutants: name, promise, what the broken code does."""
    table = Table("mutant", "promise", "what it does", box=None)
    for mutant in mutants:
        table.add_row(mutant.name, mutant.promise, mutant.sentence)
    console.print(table)


def print_hunts(console: Console, hunts: Sequence[Hunt]) -> None:
    """How many seeds each mutant took until its own checker reported it."""
    table = Table("", "mutant", "by", "rule", title="Mutants", title_justify="left")
    table.add_column("seeds", justify="right")
    table.add_column("also reported")
    for hunt in hunts:
        mark = "[green]caught[/]" if hunt.caught_by else "[red]MISSED[/]"
        others = ", ".join(" ".join(key) for key in sorted(hunt.others)[:3])
        table.add_row(mark, hunt.mutant.name, hunt.mutant.promise, hunt.caught_by, f"{hunt.seeds:,}", others)
    console.print(table)
    caught = sum(bool(hunt.caught_by) for hunt in hunts)
    verdict = "all were caught" if all_caught(hunts) else "some were missed"
    _plain(console, f"{caught} of {len(hunts)} caught, after {median_seeds(hunts):,.0f} seeds in the median: {verdict}")


def _plain(console: Console, text: str) -> None:
    """Text as it is, whatever stands in it and however long its lines are."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
