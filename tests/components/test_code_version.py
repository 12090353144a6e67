import pytest

from components import code_version


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A temporary project folder with one file."""
    monkeypatch.setattr(code_version, "_ROOT", tmp_path)
    (tmp_path / "components").mkdir()
    (tmp_path / "components" / "a.py").write_text("one")
    return tmp_path / "components"


def project_version() -> str:
    return code_version.project_version.__wrapped__()


def test_the_version_depends_on_code_templates_and_file_names(copied):
    versions = {project_version()}
    (copied / "a.py").write_text("two")
    versions.add(project_version())
    (copied / "page.jinja").write_text("page")
    versions.add(project_version())
    (copied / "a.py").rename(copied / "b.py")
    versions.add(project_version())
    assert len(versions) == 4
    (copied / "notes.txt").write_text("no code")
    assert project_version() in versions


def test_the_version_depends_on_the_libraries(copied, monkeypatch):
    before = project_version()
    monkeypatch.setattr(code_version.metadata, "version", lambda name: "0")
    assert project_version() != before


def test_the_version_of_modules_depends_on_their_code():
    def version(*modules: str) -> str:
        names = [f"components.trainer.{module}" for module in modules]
        return code_version.modules_version(*names, libraries=("keras",))

    assert version("models") == version("models")
    assert len({version("models"), version("data"), version("models", "data")}) == 3
    with pytest.raises(FileNotFoundError):
        version("nowhere")
