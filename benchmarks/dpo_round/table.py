"""What the comparison of a round prints: settings as they are tried, then figures and verdicts."""

from collections.abc import Mapping
from typing import Any

from benchmarks.dpo_round.kinds import Kind


def show(kind: Kind, name: str, result: Mapping[str, Any]) -> None:
    found, bound = result["max_loss_diff"], kind.loss_difference
    print(
        f"{name}: {result['pairs']} pairs; losses differ by {found:.1e} at most "
        f"(bound {bound:.0e}): {_verdict(found <= bound)}; our path is {result['path']}; the "
        f"strongest TRL is {result['strongest']}"
    )
    for side, run in result["runs"].items():
        print(_line(kind, side, run, result["pairs"]))
    for peer in kind.peers:
        print(f"  against {peer}: {_against(kind, name, peer, result[peer])}")
    floor, sheet = kind.mfu.get(name), result["mfu_data_sheet"]
    wanted = f" (floor {floor:.0%}): {_verdict(result['mfu'] >= floor)}" if floor else ""
    beside = f"; {sheet:.1%} of the data sheet's" if sheet else ""
    print(f"  {result['mfu']:.1%} of the measured ceiling{_over(result)}{wanted}{beside}")


def _over(result: Mapping[str, Any]) -> str:
    """Which round the share of the ceiling is of, where it is not the compared one."""
    if "alone" not in result:
        return ""
    return f" over {result['alone']['pairs']} pairs, {result['compared_mfu']:.1%} over these"


def setting(kind: Kind, name: str, tried: Mapping[str, Mapping[str, Any]], pairs: int) -> str:
    """The last setting tried: its figures and flags; after the first one, those that differ."""
    run, first = tried[name], next(iter(tried.values()))
    if "failed" in run:
        return f"  {name:<54} left out: {run['failed']}"
    usual = {} if run is first else first.get("flags", {})
    flags = {key: value for key, value in run["flags"].items() if usual.get(key, ()) != value}
    shown = ", ".join(f"{key}={value}" for key, value in flags.items())
    return f"{_line(kind, name, run, pairs)}\n      {shown}"


def _against(kind: Kind, name: str, peer: str, found: Mapping[str, float]) -> str:
    floor, most = kind.speedup[name][peer], kind.memory.get(peer)
    holds = found["speedup"] >= floor and (most is None or found["memory_ratio"] <= most)
    wanted = "" if most is None else f" (floor {most:.2f})"
    return (
        f"{found['speedup']:.2f} times as fast (floor {floor}), "
        f"{found['memory_ratio']:.2f} of its memory{wanted}: {_verdict(holds)}"
    )


def _line(kind: Kind, name: str, run: Mapping[str, float], pairs: int) -> str:
    seconds = run[kind.clock]
    return (
        f"  {name:<54} {seconds:7.1f} {kind.unit}  {seconds / pairs:6.3f} per pair"
        f"  {run['memory_mib']:7,.0f} MiB more"
    )


def _verdict(holds: bool) -> str:
    return "holds" if holds else "FAILS"
