"""What the package index, GitHub and pre-commit read: it parses, and names what is there."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import networks
import pytest
import yaml
from conftest import PACKAGE, ROOT
from hatchling.metadata.core import ProjectMetadata
from hatchling.metadata.spec import DEFAULT_METADATA_VERSION, get_core_metadata_constructors
from hatchling.plugin.manager import PluginManager

from pytest_ncnn_parity import options
from pytest_ncnn_parity.spec import spec, starter, yaml12

GATE = {"--ncnn-parity", *(option.flag for option in options.TABLE.values())}


@pytest.fixture(scope="module")
def project() -> ProjectMetadata:
    """pyproject.toml as a build of the package sees it, with what hatch_build.py makes."""
    return ProjectMetadata(str(ROOT), PluginManager())


def load(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text("utf-8"))


def repository(project: ProjectMetadata) -> str:
    return str(project.config["tool"]["hatch"]["metadata"]["hooks"]["custom"]["repository"])


def scripts(steps: list[dict[str, Any]]) -> list[str]:
    return [step["run"] for step in steps if "run" in step]


def flags(text: str) -> set[str]:
    return set(re.findall(r"--ncnn-parity[\w-]*", text))


def test_the_readme_of_the_package_has_addresses_that_work_anywhere(project: ProjectMetadata) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", project.core.readme)
    assert [link for link in links if not link.startswith("https://")] == []
    own = [link.removeprefix(repository(project)) for link in links if repository(project) in link]
    tag = f"v{project.core.version}"
    assert [path for path in own if not (ROOT / path.split(f"/{tag}/")[1]).is_file()] == []
    assert f"/raw/{tag}/docs/range.png" in own
    assert len(own) > 20


def test_links_within_a_page_and_to_other_sites_stay(project: ProjectMetadata) -> None:
    source = (ROOT / "README.md").read_text("utf-8")
    elsewhere = [link for link in re.findall(r"\]\(([^)\s]+)\)", source) if re.match(r"\w+:|#", link)]
    assert elsewhere
    assert [link for link in elsewhere if f"]({link})" not in project.core.readme] == []


def test_all_addresses_come_from_one_place(project: ProjectMetadata) -> None:
    address = repository(project)
    assert set(project.core.urls) == {
        "Homepage",
        "Documentation",
        "Changelog",
        "Source",
        "Issues",
        starter.ADDRESS,
    }
    assert [url for url in project.core.urls.values() if not url.startswith(address)] == []
    assert (ROOT / "pyproject.toml").read_text("utf-8").count(address) == 1
    owner = address.removeprefix("https://github.com/")
    used = re.findall(r"uses: (\S*pytest-ncnn-parity)@|repo: (\S+)", page("ci"))
    assert used == [(owner, ""), ("", address)]


def test_a_first_spec_names_a_schema_that_is_hosted_at_its_address(
    project: ProjectMetadata, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`pytest --ncnn-parity-schema=spec > docs/parity.schema.json` writes that file anew."""
    networks.chain(tmp_path)
    write = get_core_metadata_constructors()[DEFAULT_METADATA_VERSION]
    installed = tmp_path / "site" / f"pytest_ncnn_parity-{project.core.version}.dist-info" / "METADATA"
    installed.parent.mkdir(parents=True)
    installed.write_text(write(project), "utf-8")
    monkeypatch.syspath_prepend(installed.parent.parent)
    text = starter.starter(tmp_path / "net.param", tmp_path)
    (address,) = re.findall(r"^# yaml-language-server: \$schema=(\S+)$", text, re.MULTILINE)
    start = f"{repository(project)}/raw/v{project.core.version}/"
    assert address.startswith(start)
    assert f"$schema={address}\n" in page("init")
    hosted = json.loads((ROOT / address.removeprefix(start)).read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(hosted)
    assert rules(hosted) == rules(spec.schema())
    assert list(jsonschema.Draft202012Validator(hosted).iter_errors(yaml12.load(text).data)) == []


def rules(schema: Any) -> Any:
    """What every version of pydantic writes: older ones wrap references, and have no rule for names."""
    if isinstance(schema, list):
        return [rules(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    (wrapped,) = schema.get("allOf", [{}])
    said = {**schema, **wrapped}
    return {key: rules(part) for key, part in said.items() if key not in ("allOf", "propertyNames")}


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text("utf-8")


def test_the_source_distribution_has_what_its_tests_read(project: ProjectMetadata) -> None:
    targets = project.config["tool"]["hatch"]["build"]["targets"]
    packed = {name.removeprefix("/") for name in targets["sdist"]["include"]}
    packed.remove(PACKAGE.name)  # may be tested where it is installed
    assert [name for name in packed if not (ROOT / name).exists()] == []
    assert packed >= {"README.md", "hatch_build.py", "tests", "example_models", "docs", ".github"}


def test_a_release_is_tested_built_and_only_then_published() -> None:
    release = load(".github/workflows/release.yml")
    assert release[True] == {"push": {"tags": ["v*"]}}  # YAML 1.1 takes the key `on` for true
    jobs = release["jobs"]
    assert set(jobs["publish"]["needs"]) == set(jobs) - {"publish"}
    trusted = [name for name, job in jobs.items() if "id-token" in job.get("permissions", {})]
    assert (trusted, release["permissions"]) == (["publish"], {"contents": "read"})
    built = "\n".join(scripts(jobs["build"]["steps"]))
    for check in ("validate-pyproject", "twine check --strict", "check-wheel-contents", "pyroma"):
        assert check in built
    assert flags(built) <= GATE
    assert "sh tests/run" in scripts(jobs["test"]["steps"])
    folders = {
        step["with"]["path"]
        for job in jobs.values()
        for step in job["steps"]
        if "artifact" in step.get("uses", "")
    }
    assert folders == {"dist/"}


def test_the_action_runs_the_gate_and_uploads_its_reports() -> None:
    action = load("action.yml")
    steps = action["runs"]["steps"]
    used = set(re.findall(r"inputs\.(\w+)", (ROOT / "action.yml").read_text("utf-8")))
    assert used == set(action["inputs"])
    assert all("description" in one and "default" in one for one in action["inputs"].values())
    assert all(step["shell"] == "bash" for step in steps if "run" in step)
    assert [
        script for script in scripts(steps) if "${{" in script
    ] == []  # what a user writes is never code
    (gate,) = [script for script in scripts(steps) if "pytest" in script and "install" not in script]
    assert {"--ncnn-parity", "--ncnn-parity-html", "--ncnn-parity-require-vulkan"} < flags(gate) <= GATE
    upload = steps[-1]
    assert upload["if"] == "always()"
    for folder in upload["with"]["path"].split():
        assert folder in gate or folder == f"{options.TABLE['dir'].default}/"


def test_the_gate_is_run_on_the_other_systems() -> None:
    (job,) = load(".github/workflows/systems.yml")["jobs"].values()
    assert {name.partition("-")[0] for name in job["strategy"]["matrix"]["os"]} == {"macos", "windows"}
    commands = "\n".join(scripts(job["steps"]))
    assert flags(commands) <= GATE
    named = set(re.findall(r"(?:example_models|tests)/\w+", commands))
    assert named
    assert [path for path in named if not (ROOT / path).is_dir()] == []


@pytest.mark.parametrize(
    "name", ["action.yml", ".github/workflows/release.yml", ".github/workflows/systems.yml"]
)
def test_every_script_parses(name: str) -> None:
    document = load(name)
    jobs = document.get("jobs", {"action": document.get("runs")})
    for script in (script for job in jobs.values() for script in scripts(job["steps"])):
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_hooks_of_pre_commit() -> None:
    specs, gate = load(".pre-commit-hooks.yaml")
    for hook in (specs, gate):
        assert hook["language"] == "python"
        assert hook["entry"].split()[0] == "pytest"
        assert "--ncnn-parity" in flags(hook["entry"]) <= GATE
        assert re.search(hook["files"], "models/net.parity.yaml")
        assert not re.search(hook["files"], "models/net.yaml")
    assert re.search(gate["files"], "models/net.param")
    assert f"- id: {specs['id']}\n" in page("ci")
    assert f"- id: {gate['id']}\n" in page("ci")


def test_files_that_every_reader_of_a_repository_looks_for() -> None:
    assert len((ROOT / "SECURITY.md").read_text("utf-8").splitlines()) <= 6
    assert (ROOT / "LICENSE").is_file()
