"""Hooks of mkdocs for the documentation site.

- Notebooks, examples and the notes at the root become pages, so that mkdocs checks their links as those of all pages.
- Formulas become MathML while the site is built, so that a reader needs neither a network nor a script.
- A page that would ask another host for anything ends the build.
"""

import ast
import base64
import html
import json
import re
from pathlib import Path
from typing import Any

import latex2mathml.converter
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
NOTES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
ROOM = re.compile(r"^::: (structmfg(?:\.\w+)+)$(?:\n    options: \{ (.*) \})?", re.MULTILINE)
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
SHIM = "https://unpkg.com/iframe-worker/shim"  # what the plugin `offline` of mkdocs-material puts into every page
ELSEWHERE = re.compile(r'<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)="(?:https?:)?//[^"]*"')


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made of other files."""
    for note, path in NOTES.items():
        files.append(File.generated(config, path, content=_mended((ROOT / note).read_text(), path)))
    for example in sorted((ROOT / "examples").glob("*.py")):
        text = f'# {example.name}\n\n```python title="examples/{example.name}"\n{example.read_text()}```\n'
        files.append(File.generated(config, f"examples/{example.stem}.md", content=text))
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        stem = notebook.src_uri.removesuffix(".ipynb")
        text, pictures = _of_notebook(json.loads(Path(notebook.abs_src_path or "").read_text()), stem)
        files.append(File.generated(config, f"{stem}.md", content=text))
        for path, content in pictures.items():
            files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Lead links to files outside docs/ to the pages that are made of them; document a room by its public names."""
    return ROOM.sub(_members, _mended(markdown, page.file.src_uri))


def on_page_content(content: str, **_: Any) -> str:
    """Replace formulas by MathML."""
    return FORMULA.sub(_mathml, content)


def on_post_page(output: str, page: Page, **_: Any) -> str:
    """Refuse a page that would load something from elsewhere; the script for the search is taken from the site."""
    return _without_network(output, page.url)


def on_post_template(output_content: str, template_name: str, **_: Any) -> str:
    """The same for the page that is shown where there is none."""
    return _without_network(output_content, template_name)


def _without_network(output: str, url: str) -> str:
    output = output.replace(SHIM, "../" * url.count("/") + "search_from_disk.js")
    if found := ELSEWHERE.search(output):
        raise PluginError(f"{url} would load something from elsewhere: {found.group()}")
    return output


def _members(directive: re.Match[str]) -> str:
    """The directive of mkdocstrings for a package, with the names in its `__all__`, which other files define."""
    name, given = directive.groups(default="")
    initial = ast.parse(ROOT.joinpath(*name.split("."), "__init__.py").read_text())
    members = next(
        ast.literal_eval(node.value)
        for node in initial.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    options = [given] if given else []
    if "members" not in given:
        options.append(f"members: [{', '.join(members)}]")
    return f"::: {name}\n    options: {{ {', '.join(options)} }}"


def _mathml(formula: re.Match[str]) -> str:
    text = html.unescape(formula.group(2)).strip()
    if formula.group(1) == "div":
        return f'<div class="formula">{latex2mathml.converter.convert(text, display="block")}</div>'
    return latex2mathml.converter.convert(text)


def _mended(markdown: str, path: str) -> str:
    """The text of a page of the site, with links to the repository's files led to pages."""
    up = "../" * path.count("/")

    def page_of(link: re.Match[str]) -> str:
        target = link.group(1)
        if target in NOTES:
            return f"]({up}{NOTES[target]}"
        if target.startswith("examples/") and target.endswith(".py"):
            return f"]({up}{target.removesuffix('.py')}.md"
        return f"]({up}{target.removeprefix('docs/')}" if target.startswith("docs/") else link.group()

    markdown = re.sub(r"\]\((?:\.\./)*((?:examples|docs)/[\w./-]+|CHANGELOG\.md|CONTRIBUTING\.md)", page_of, markdown)
    return re.sub(r"(\]\([\w./-]+)\.ipynb(?=[)#])", r"\1.md", markdown)


def _of_notebook(notebook: dict[str, Any], stem: str) -> tuple[str, dict[str, bytes]]:
    """A notebook as a page of Markdown, and its pictures by their paths."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {"text/plain": output.get("text", "")})
            if "image/png" in data:
                path = f"{stem}_{len(pictures) + 1}.png"
                pictures[path] = base64.b64decode(data["image/png"])
                parts.append(f"![{cell['metadata'].get('alt', 'a figure')}]({Path(path).name})")
            elif text := "".join(data["text/plain"]).rstrip():
                parts.append(f'```text title="prints"\n{text}\n```')
    name = Path(stem).name
    parts.append(f'---\n\n[Download this page as a notebook]({name}.ipynb "The notebook"). The tests run it.')
    return "\n\n".join(parts) + "\n", pictures
