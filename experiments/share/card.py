"""What lies beside an exported set's Parquet files: README.md, the card, and croissant.json.

Both say what the set is, how it was made and from what, and under which licence the originals are,
with what the set's manifest tells. `datasets` reads the card's head; https://mlcommons.org/croissant
describes Croissant 1.0, and https://www.w3.org/TR/prov-o its words for provenance.
"""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.options.export import UNKNOWN
from experiments.share.columns import BASIC, ExportDescription
from experiments.share.parquet import FOLDER, extra_dtype
from train.data.spec import EXTRAS

CROISSANT = "http://mlcommons.org/croissant"

PARQUET = "application/x-parquet"

COLUMNS = {
    "id": "text that identifies the image",
    "image": "the image, a PNG",
    "label": "the true class",
    "target": "the output that was asked for, a probability for each class",
    "output": "the classifier's output for the finished image, a probability for each class",
    "kl": "KL(target ‖ output) in nats",
    "max_error": "largest difference between target and output",
    "view_kl": "mean KL(target ‖ output) over random views of the image, in nats",
    "view_ranking": "share of random views whose output ranks the classes as the target does",
    "steps": "updates of the image",
    "source_id": "id of the image that this one was made from",
    "source_sha256": "SHA-256 of that image's grey levels",
    "predicted": "class that a classifier predicts",
    "confidence": "the classifier's probability of that class",
    "key": "the image's own key, in hexadecimal, from which the GAN makes it again",
}
"""What a column holds, by its name."""


def card(of: ExportDescription, *, table_bytes: dict[str, int], file_bytes: int) -> str:
    """The card, README.md.

    Args:
        of: the set.
        table_bytes: bytes of each split's table in memory.
        file_bytes: bytes of all Parquet files.
    """
    head = _head(of, table_bytes=table_bytes, file_bytes=file_bytes)
    return "\n".join(["---", *_yaml(head), "---", "", *_prose(of)]) + "\n"


def _head(of: ExportDescription, *, table_bytes: dict[str, int], file_bytes: int) -> dict[str, Any]:
    """The card's head, as `datasets` reads it."""
    splits = [
        {"name": split, "num_bytes": table_bytes[split], "num_examples": of.count(split)}
        for split in of.splits
    ]
    info = {
        "features": [{"name": name, **kind} for name, kind in _features(of).items()],
        "splits": splits,
        "download_size": file_bytes,
        "dataset_size": sum(table_bytes.values()),
    }
    files = [{"split": split, "path": f"{FOLDER}/{split}-*"} for split in of.splits]
    return {
        **_licence(of.licence),
        "task_categories": ["image-classification"],
        "pretty_name": of.name,
        "configs": [{"config_name": "default", "data_files": files}],
        "dataset_info": info,
    }


def _licence(licence: str) -> dict[str, str]:
    """The licence in the Hub's fields: one of its short names, or another with its own name."""
    if re.fullmatch(r"[a-z0-9.-]+", licence.lower()):
        return {"license": licence.lower()}
    return {"license": "other", "license_name": licence}


def _features(of: ExportDescription) -> dict[str, dict[str, Any]]:
    names = {str(label): name for label, name in enumerate(of.class_names)}
    return {
        "id": {"dtype": "string"},
        "image": {"dtype": "image"},
        "label": {"dtype": {"class_label": {"names": names}}},
        **{
            name: {"sequence" if EXTRAS[name].per_class else "dtype": extra_dtype(name)}
            for name in of.extras
        },
    }


def _yaml(value: Any) -> Iterator[str]:
    """Lines of YAML. Texts and numbers are JSON's, which YAML reads too."""
    if isinstance(value, dict):
        for name, item in value.items():
            word = json.dumps(name) if name.isdigit() else name
            if isinstance(item, dict | list):
                yield f"{word}:"
                yield from (f"  {line}" for line in _yaml(item))
            else:
                yield f"{word}: {json.dumps(item)}"
    else:
        for item in value:
            first, *others = _yaml(item) if isinstance(item, dict) else [json.dumps(item)]
            yield f"- {first}"
            yield from (f"  {line}" for line in others)


def _prose(of: ExportDescription) -> list[str]:
    counts = ", ".join(f"{of.count(split):,} {split}" for split in of.splits)
    height, width, channels = of.image_shape
    return [
        f"# {of.name}",
        "",
        of.description or "An image set.",
        "",
        f"{counts} images of {len(of.class_names)} classes, {height} x {width} pixels, "
        f"{channels} channel{'s' if channels > 1 else ''}.",
        "",
        "## Columns",
        "",
        "| column | content |",
        "| --- | --- |",
        *(f"| `{name}` | {COLUMNS[name]} |" for name in (*BASIC, *of.extras)),
        "",
        "## How it was made",
        "",
        *_origin(of),
        "",
        "## Licence",
        "",
        licence_words(of.licence),
    ]


def licence_words(licence: str) -> str:
    """What is known of the licence of the original images, in a sentence."""
    if licence == UNKNOWN:
        return (
            "The licence of the original images is unknown: whoever exported this gave none. Find "
            "it out before you share this."
        )
    return f"The original images are under this licence, as whoever exported this said: {licence}."


def _origin(of: ExportDescription) -> Iterator[str]:
    """Says how the set was made, from its manifest."""
    if not of.made_by:
        yield "The set that was exported keeps no record of how it was made."
    else:
        for words in facts(of).items():
            yield "- {}: `{}`".format(*words)
        yield ""
        yield "The whole configuration:"
        yield ""
        yield "```json"
        yield json.dumps(of.made_by, sort_keys=True, indent=2)
        yield "```"
    yield ""
    yield f"Exported by `{export_command(of)}` of Elicit."


def export_command(of: ExportDescription) -> str:
    """The command that exported a set."""
    licence = "" if of.licence == UNKNOWN else f" --licence {shlex.quote(of.licence)}"
    return f"elicit export {shlex.quote(of.source)} --to {of.format}{licence} --out DIR"


def facts(of: ExportDescription) -> dict[str, str]:
    """The main facts of a set's manifest: its source, classifier or GAN, key and versions."""
    found = {}
    source = of.made_by.get("dataset")
    sources = source if isinstance(source, list) else [source]
    if words := "; ".join(map(_source_words, filter(None, sources))):
        found["data"] = words
    for name in ("classifier", "gan"):
        value = of.made_by.get(name)
        if isinstance(value, dict):
            found[name] = " ".join(
                f"{field} {item}" for field, item in value.items() if isinstance(item, str)
            )
    if "key" in of.made_by:
        found["key"] = str(of.made_by["key"])
    versions = of.made_by.get("versions", {})
    found["versions"] = ", ".join(f"{name} {version}" for name, version in versions.items())
    return {name: words for name, words in found.items() if words}


def _source_words(source: Any) -> str:
    if not isinstance(source, dict):
        return str(source)
    splits = source.get("splits") or [source.get("split")]
    named = f"{source.get('name')} {'+'.join(map(str, filter(None, splits)))}".strip()
    return f"{named}, sha256 {source['sha256']}" if source.get("sha256") else named


def croissant(of: ExportDescription, files: dict[str, tuple[str, int]]) -> dict[str, Any]:
    """Croissant metadata of an exported set.

    Args:
        of: the set.
        files: digest and size of each Parquet file, by its path below the set's directory.
    """
    return {
        "@context": _context(),
        "@type": "sc:Dataset",
        "conformsTo": f"{CROISSANT}/1.0",
        "name": of.name,
        "description": of.description or "An image set.",
        "license": of.licence,
        "version": of.spec().version,
        "distribution": [
            *(_file(name, *told) for name, told in files.items()),
            *(_file_set(split) for split in of.splits),
        ],
        "recordSet": [_classes(of), *(_records(of, split) for split in of.splits)],
        **_provenance(of),
    }


def _provenance(of: ExportDescription) -> dict[str, Any]:
    """Where the set came from and what made it, in the words of PROV and of Croissant's RAI."""
    known = facts(of)
    sources = [known[name] for name in ("data", "classifier", "gan") if name in known]
    made_by = json.dumps(of.made_by, sort_keys=True) if of.made_by else "no record"
    return {
        **({"prov:wasDerivedFrom": sources} if sources else {}),
        "prov:wasGeneratedBy": f"{export_command(of)}; configuration of the set: {made_by}",
        "rai:dataCollection": licence_words(of.licence),
    }


def _file(name: str, digest: str, size: int) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": Path(name).name,
        "contentUrl": name,
        "contentSize": f"{size} B",
        "encodingFormat": PARQUET,
        "sha256": digest,
    }


def _file_set(split: str) -> dict[str, Any]:
    """All files of a split."""
    return {
        "@type": "cr:FileSet",
        "@id": _file_set_id(split),
        "encodingFormat": PARQUET,
        "includes": f"{FOLDER}/{split}-*.parquet",
    }


def _file_set_id(split: str) -> str:
    return f"{split}-files"


def _classes(of: ExportDescription) -> dict[str, Any]:
    """The names of the classes, to which the labels refer."""
    kinds = {"label": "sc:Integer", "name": "sc:Text"}
    return {
        "@type": "cr:RecordSet",
        "@id": "class-names",
        "name": "class-names",
        "key": {"@id": "class-names/label"},
        "field": [
            {"@type": "cr:Field", "@id": f"class-names/{name}", "name": name, "dataType": kind}
            for name, kind in kinds.items()
        ],
        "data": [
            {"class-names/label": label, "class-names/name": name}
            for label, name in enumerate(of.class_names)
        ],
    }


def _records(of: ExportDescription, split: str) -> dict[str, Any]:
    """The images of a split."""
    return {
        "@type": "cr:RecordSet",
        "@id": split,
        "name": split,
        "field": [_field(split, name) for name in (*BASIC, *of.extras)],
    }


def _field(split: str, name: str) -> dict[str, Any]:
    is_list = name in EXTRAS and EXTRAS[name].per_class
    return {
        "@type": "cr:Field",
        "@id": f"{split}/{name}",
        "name": name,
        "description": COLUMNS[name],
        "dataType": _data_type(name),
        **({"repeated": True} if is_list else {}),
        **({"references": {"field": {"@id": "class-names/label"}}} if name == "label" else {}),
        "source": {
            "fileSet": {"@id": _file_set_id(split)},
            "extract": {"column": name},
            **({"transform": {"jsonPath": "bytes"}} if name == "image" else {}),
        },
    }


def _data_type(name: str) -> str:
    if name == "image":
        return "sc:ImageObject"
    if name == "label":
        return "sc:Integer"
    kind = "string" if name == "id" else extra_dtype(name)
    return {"string": "sc:Text", "int32": "cr:Int32", "float32": "cr:Float32"}[kind]


def _context() -> dict[str, Any]:
    """Croissant's own words in JSON-LD, as its specification prints them."""
    own = (
        *("citeAs", "column", "extract", "field", "fileProperty", "fileObject", "fileSet"),
        *("format", "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path"),
        *("recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator"),
        *("source", "subField", "transform", "equivalentProperty"),
    )
    return {
        "@language": "en",
        "@vocab": "https://schema.org/",
        **{word: f"cr:{word}" for word in own},
        "conformsTo": "dct:conformsTo",
        "cr": f"{CROISSANT}/",
        "data": {"@id": "cr:data", "@type": "@json"},
        "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
        "dct": "http://purl.org/dc/terms/",
        "examples": {"@id": "cr:examples", "@type": "@json"},
        "prov": "http://www.w3.org/ns/prov#",
        "rai": f"{CROISSANT}/RAI/",
        "sc": "https://schema.org/",
    }
