"""Tasks of lm-evaluation-harness, with their data from a folder and from nowhere else."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dpo_core.errors import ConfigError
from flows.harness.task_request import TaskRequest
from flows.harness.offline import seed_libraries

LIKELIHOODS = ("loglikelihood", "multiple_choice")
ANSWERED = "generate_until"
_FEW_SHOT_SEED = 1234
"""The harness's own."""
_NAMED = re.compile(rb"^[\"']?(task|group)[\"']?:\s*['\"]?([\w.+-]+)", re.MULTILINE)
_ANOTHER = "Name another task, or remove the suite."


def open_task(asked: TaskRequest, cache_dir: Path) -> Any:
    """The task, a ConfigurableTask, with its documents. Raises ConfigError in one sentence."""
    path = _file(asked)
    _check_kind(asked, _read(asked, path, with_code=False))
    config = _read(asked, path, with_code=True)
    config["num_fewshot"] = config.get("num_fewshot") or 0
    dataset = _read_data(asked, config, cache_dir)
    _drop_splits(config)
    _check_splits(asked, config, dataset)
    config |= {"custom_dataset": lambda **_: dataset, "dataset_kwargs": None}
    from lm_eval.api.task import ConfigurableTask

    seed_libraries()
    try:
        task = ConfigurableTask(config=config)
        task.set_fewshot_seed(_FEW_SHOT_SEED)
    except Exception as error:  # whatever a task's own code may raise at data that are not its own
        raise unreadable_documents(asked, error) from error
    return task


def versions(task: Any) -> dict[str, str]:
    return {"lm_eval": version("lm_eval"), task.config.task: str(task.VERSION)}


def choose_metric(asked: TaskRequest, task: Any) -> tuple[str, str]:
    """(metric, filter) of the number that is a document's score. Raises ConfigError."""
    from lm_eval.api.registry import get_aggregation

    better = task.higher_is_better()
    means = [get_aggregation(name) for name in ("mean", "nanmean")]
    usable = [m for m, how in task.aggregation().items() if how in means and better.get(m)]
    filters = [found["name"] for found in task.config.filter_list or [{"name": "none"}]]
    if not usable:
        raise asked.refuse(
            f"{asked.task} reports no number that is a mean over documents and better when it is "
            "higher, as a suite's score must be",
            _ANOTHER,
        )
    metric, _, filtered = (asked.metric or usable[0]).partition(",")
    if metric in usable and (filtered or filters[0]) in filters:
        return metric, filtered or filters[0]
    known = [f"{metric},{name}" for metric in usable for name in filters]
    if filters == ["none"]:
        known = usable
    raise asked.refuse(
        f"{asked.task} reports no {asked.metric} that can be a suite's score",
        f"Give one of {', '.join(known)}.",
        "metric",
    )


@cache
def _files() -> Mapping[str, tuple[str, Path]]:
    """name → (task or group, file). The harness's own index parses some 15,000 files, for 3 s."""
    spec = find_spec("lm_eval")
    assert spec is not None and spec.origin is not None, "checked before"
    found: dict[str, tuple[str, Path]] = {}
    for path in sorted(Path(spec.origin).parent.joinpath("tasks").rglob("*.yaml")):
        for kind, name in _NAMED.findall(path.read_bytes()):
            found.setdefault(name.decode(), (kind.decode(), path))
    return found


def _file(asked: TaskRequest) -> Path:
    if find_spec("lm_eval") is None:
        raise asked.refuse(
            "lm-evaluation-harness is not installed", "pip install 'ratchet-dpo[harness]'"
        )
    kind, path = _files().get(asked.task, ("", Path()))
    if kind == "task":
        return path
    names = [name for name, (its_kind, _) in _files().items() if its_kind == "task"]
    below = [name for name in names if name.startswith(f"{asked.task}_")]
    like = below[:3] or get_close_matches(asked.task, names, n=3) or ["ifeval", "gsm8k"]
    what = "is a group of tasks" if kind else f"is no task of lm-eval {version('lm_eval')}"
    raise asked.refuse(f"{asked.task} {what}", f"Name a single task, as {' or '.join(like)}.")


def _read(asked: TaskRequest, path: Path, *, with_code: bool) -> dict[str, Any]:
    """What the task's file says."""
    from lm_eval.tasks._yaml_loader import load_yaml

    try:
        config: dict[str, Any] = load_yaml(path, resolve_func=with_code)
    except Exception as error:  # its own code, and what that imports
        raise asked.refuse(
            f"{asked.task} cannot be loaded: {_first_line(error)}",
            "Install what it needs, as pip install 'ratchet-dpo[harness]' does for ifeval; or name "
            "another task.",
        ) from error
    return {k: v for k, v in config.items() if k not in ("tag", "group", "task_list")}


def _check_kind(asked: TaskRequest, config: Mapping[str, Any]) -> None:
    kind = config.get("output_type", ANSWERED)
    decoding = config.get("generation_kwargs") or {}
    reasons = {
        "is made by code of its own, not by a file alone": "class" in config,
        f"is of the type {kind}, and a suite takes {ANSWERED}, loglikelihood and "
        "multiple_choice": kind not in (ANSWERED, *LIKELIHOODS),
        "runs code that the policy writes": config.get("unsafe_code"),
        "shows images or sounds": config.get("doc_to_image") or config.get("doc_to_audio"),
        "makes its data by code": config.get("custom_dataset"),
        "asks for several answers to each document": int(config.get("repeats") or 1) > 1,
        "begins the answers itself (gen_prefix)": config.get("gen_prefix"),
        "searches among answers (num_beams)": int(decoding.get("num_beams") or 1) > 1,
        "draws from the likeliest tokens alone (top_k)": decoding.get("do_sample")
        and decoding.get("top_k"),
    }
    for reason, found in reasons.items():
        if found:
            raise asked.refuse(f"{asked.task} {reason}", _ANOTHER)


def _read_data(asked: TaskRequest, config: Mapping[str, Any], cache_dir: Path) -> Any:
    """The splits that lie in the folder; of several data sets there, the one the task names."""
    import datasets

    datasets.disable_progress_bars()
    name = config.get("dataset_name")
    place = asked.data / str(name) if name and (asked.data / str(name)).is_dir() else asked.data
    try:
        named = name if name in datasets.get_dataset_config_names(str(place)) else None
        return datasets.load_dataset(str(place), name=named, cache_dir=str(cache_dir))
    except Exception as error:  # of many libraries
        raise asked.refuse(
            f"{asked.data} holds no data that can be read: {_first_line(error)}",
            f"Put a .jsonl or .parquet file there for each split that {asked.task} names.",
            "data",
        ) from error


def _drop_splits(config: dict[str, Any]) -> None:
    """Without examples in its prompts a task needs the split alone that it is evaluated on."""
    if config["num_fewshot"] == 0:
        unused = ["training_split", "fewshot_split", "fewshot_config"]
        if config.get("test_split") is not None:
            unused.append("validation_split")
        config |= dict.fromkeys(unused)


def _check_splits(asked: TaskRequest, config: Mapping[str, Any], dataset: Iterable[str]) -> None:
    evaluated = config.get("test_split") or config.get("validation_split")
    wanted = [evaluated]
    if config["num_fewshot"]:
        few_shot = config.get("fewshot_config") or {}
        given = few_shot.get("samples") if isinstance(few_shot, dict) else None
        split = few_shot.get("split") if isinstance(few_shot, dict) else None
        keys = ("fewshot_split", "training_split", "validation_split")
        named = split or next((found for key in keys if (found := config.get(key))), evaluated)
        wanted += [] if given is not None and not split else [named]
    missing = sorted({str(split) for split in wanted} - set(dataset))
    if missing:
        raise asked.refuse(
            f"{asked.data} has no split {' and '.join(missing)} (it has {', '.join(dataset)})",
            f"Put {missing[0]}.jsonl or {missing[0]}.parquet there.",
            "data",
        )


def unreadable_documents(asked: TaskRequest, error: Exception) -> ConfigError:
    """The error for documents that the task's own code cannot read."""
    return asked.refuse(
        f"{asked.task} cannot read the documents in {asked.data}: {_first_line(error)}",
        "Give the data that the task was written for.",
        "data",
    )


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip().splitlines()[0][:300]
