"""Tasks of lm-evaluation-harness, with their data from a local folder only."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dpo_core.errors import ConfigError
from dpo_core.install_hint import install
from flows.harness.offline import seed_libraries
from flows.harness.suite_task import AnyTask

LIKELIHOODS = ("loglikelihood", "multiple_choice")
ANSWERED = "generate_until"
_FEW_SHOT_SEED = 1234
"""As in the harness."""
_NAMED = re.compile(rb"^[\"']?(task|group)[\"']?:\s*['\"]?([\w.+-]+)", re.MULTILINE)
_ANOTHER = "Name another task, or remove the suite."


def open_task(suite: AnyTask, cache_dir: Path) -> Any:
    """The task, a ConfigurableTask, with its documents. Raises ConfigError."""
    path = _find_file(suite)
    _check_kind(suite, _read_config(suite, path, with_code=False))
    config = _read_config(suite, path, with_code=True)
    config["num_fewshot"] = config.get("num_fewshot") or 0
    dataset = _read_data(suite, config, cache_dir)
    _drop_splits(config)
    _check_splits(suite, config, dataset)
    config |= {"custom_dataset": lambda **_: dataset, "dataset_kwargs": None}
    from lm_eval.api.task import ConfigurableTask

    seed_libraries()
    try:
        task = ConfigurableTask(config=config)
        task.set_fewshot_seed(_FEW_SHOT_SEED)
    except Exception as error:  # the task's own code, given data that it was not written for
        raise unreadable_documents(suite, error) from error
    return task


def versions(task: Any) -> dict[str, str]:
    return {"lm_eval": version("lm_eval"), task.config.task: str(task.VERSION)}


def choose_metric(suite: AnyTask, task: Any) -> tuple[str, str]:
    """(metric, filter) that scores a document. Raises ConfigError."""
    from lm_eval.api.registry import get_aggregation

    better = task.higher_is_better()
    means = [get_aggregation(name) for name in ("mean", "nanmean")]
    usable = [m for m, how in task.aggregation().items() if how in means and better.get(m)]
    filters = [each["name"] for each in task.config.filter_list or [{"name": "none"}]]
    if not usable:
        raise suite.reject(
            f"{suite.task} reports no mean over documents for which higher is better, as a suite's "
            "score must be",
            _ANOTHER,
        )
    metric, _, filtered = (suite.config.metric or usable[0]).partition(",")
    if metric in usable and (filtered or filters[0]) in filters:
        return metric, filtered or filters[0]
    known = [f"{metric},{name}" for metric in usable for name in filters]
    if filters == ["none"]:
        known = usable
    raise suite.reject(
        f"{suite.task} reports no {suite.config.metric} that can be a suite's score",
        f"Give one of {', '.join(known)}.",
        "metric",
    )


@cache
def _index_files() -> Mapping[str, tuple[str, Path]]:
    """name → (task or group, file). The harness's own index parses some 15,000 files, for 3 s."""
    spec = find_spec("lm_eval")
    assert spec is not None and spec.origin is not None, "_find_file checked it"
    files: dict[str, tuple[str, Path]] = {}
    for path in sorted(Path(spec.origin).parent.joinpath("tasks").rglob("*.yaml")):
        for kind, name in _NAMED.findall(path.read_bytes()):
            files.setdefault(name.decode(), (kind.decode(), path))
    return files


def _find_file(suite: AnyTask) -> Path:
    if find_spec("lm_eval") is None:
        raise suite.reject("lm-evaluation-harness is not installed", install("harness"))
    kind, path = _index_files().get(suite.task, ("", Path()))
    if kind == "task":
        return path
    names = [name for name, (its_kind, _) in _index_files().items() if its_kind == "task"]
    below = [name for name in names if name.startswith(f"{suite.task}_")]
    like = below[:3] or get_close_matches(suite.task, names, n=3) or ["ifeval", "gsm8k"]
    what = "is a group of tasks" if kind else f"is not a task of lm-eval {version('lm_eval')}"
    raise suite.reject(f"{suite.task} {what}", f"Name a single task, such as {' or '.join(like)}.")


def _read_config(suite: AnyTask, path: Path, *, with_code: bool) -> dict[str, object]:
    """The task's config, from its file."""
    from lm_eval.tasks._yaml_loader import load_yaml

    try:
        config: dict[str, object] = load_yaml(path, resolve_func=with_code)
    except Exception as error:  # the task's own code, and its imports
        raise suite.reject(
            f"{suite.task} cannot be loaded: {_first_line(error)}",
            f"Install what it needs, as {install('harness')} does for ifeval; or name "
            "another task.",
        ) from error
    return {k: v for k, v in config.items() if k not in ("tag", "group", "task_list")}


def _check_kind(suite: AnyTask, config: Mapping[str, object]) -> None:
    kind = config.get("output_type", ANSWERED)
    decoding = _section(config, "generation_kwargs")
    reasons = {
        "is defined by code, not by a file alone": "class" in config,
        f"is of the type {kind}, and a suite takes {ANSWERED}, loglikelihood and "
        "multiple_choice": kind not in (ANSWERED, *LIKELIHOODS),
        "runs code that the policy writes": config.get("unsafe_code"),
        "shows images or sounds": config.get("doc_to_image") or config.get("doc_to_audio"),
        "makes its data by code": config.get("custom_dataset"),
        "asks for several answers to each document": config.get("repeats") not in (None, 0, 1),
        "begins the answers itself (gen_prefix)": config.get("gen_prefix"),
        "searches among answers (num_beams)": decoding.get("num_beams") not in (None, 0, 1),
        "draws from the likeliest tokens alone (top_k)": decoding.get("do_sample")
        and decoding.get("top_k"),
    }
    for reason, holds in reasons.items():
        if holds:
            raise suite.reject(f"{suite.task} {reason}", _ANOTHER)


def _section(config: Mapping[str, object], key: str) -> Mapping[str, object]:
    """The section under a key; empty where there is none."""
    section = config.get(key)
    return section if isinstance(section, dict) else {}


def _read_data(suite: AnyTask, config: Mapping[str, object], cache_dir: Path) -> Any:
    """The splits in the folder; of several data sets, the one that the task names."""
    import datasets

    datasets.disable_progress_bars()
    name = config.get("dataset_name")
    place = suite.data / str(name) if name and (suite.data / str(name)).is_dir() else suite.data
    try:
        named = name if name in datasets.get_dataset_config_names(str(place)) else None
        return datasets.load_dataset(str(place), name=named, cache_dir=str(cache_dir))
    except Exception as error:  # of many libraries
        raise suite.reject(
            f"{suite.data} holds no readable data: {_first_line(error)}",
            f"Put a .jsonl or .parquet file there for each split that {suite.task} names.",
            "data",
        ) from error


def _drop_splits(config: dict[str, object]) -> None:
    """Without few-shot examples a task needs only the split that it is evaluated on."""
    if config["num_fewshot"] == 0:
        unused = ["training_split", "fewshot_split", "fewshot_config"]
        if config.get("test_split") is not None:
            unused.append("validation_split")
        config |= dict.fromkeys(unused)


def _check_splits(suite: AnyTask, config: Mapping[str, object], dataset: Iterable[str]) -> None:
    evaluated = config.get("test_split") or config.get("validation_split")
    wanted = [evaluated]
    if config["num_fewshot"]:
        few_shot = _section(config, "fewshot_config")
        given, split = few_shot.get("samples"), few_shot.get("split")
        keys = ("fewshot_split", "training_split", "validation_split")
        named = split or next(filter(None, map(config.get, keys)), evaluated)
        wanted += [] if given is not None and not split else [named]
    missing = sorted({str(split) for split in wanted} - set(dataset))
    if missing:
        raise suite.reject(
            f"{suite.data} has no split {' and '.join(missing)} (it has {', '.join(dataset)})",
            f"Put {missing[0]}.jsonl or {missing[0]}.parquet there.",
            "data",
        )


def unreadable_documents(suite: AnyTask, error: Exception) -> ConfigError:
    """The error for documents that the task's own code cannot read."""
    return suite.reject(
        f"{suite.task} cannot read the documents in {suite.data}: {_first_line(error)}",
        "Give the data that the task was written for.",
        "data",
    )


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip().splitlines()[0][:300]
