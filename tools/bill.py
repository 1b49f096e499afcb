#!/usr/bin/env python3
"""What programs are linked from: a list of licences with their texts, and a bill of materials in CycloneDX's form.

    tools/bill.py DIRECTORY PACKAGE...      writes DIRECTORY/THIRD-PARTY.txt and DIRECTORY/sbom.cdx.json

Both are made from what cargo knows, without a network, and are the same for the same Cargo.lock and target. The build fails if a package
names no licence. Macros, build scripts and what tests need are left out: they are not part of a program.
"""

import json
import pathlib
import re
import subprocess
import sys
import tomllib

TEXTS = re.compile(r"(?i)(licen[cs]e|copying|notice|copyright|unlicense)")


def cargo(*arguments):
    return subprocess.run(["cargo", *arguments], capture_output=True, text=True, check=True).stdout


def linked(packages):
    """Names and versions of everything that `packages` are linked from, for this machine's target."""
    selected = [word for package in packages for word in ("-p", package)]
    lines = cargo("tree", "--locked", "--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}", *selected).splitlines()
    return sorted({tuple(line.split()[:2]) for line in lines if line.strip()})


def texts(directory):
    """The licence files of a package, including those of vendored sources, by their paths."""
    found = [path for path in directory.rglob("*") if TEXTS.match(path.name) and path.is_file() and path.suffix not in (".rs", ".py", ".json")]
    return {str(path.relative_to(directory)): path.read_text(errors="replace").strip() for path in sorted(found)}


def licences(packages, metadata):
    """The list: every package with its licence, then every text with the packages that it came with."""
    lines = ["What the programs are linked from, and the licence of each. The texts follow.", ""]
    by_text = {}
    for name, version in packages:
        package = metadata[name, version]
        there = texts(pathlib.Path(package["manifest_path"]).parent)
        lines.append(f"{name} {version}: {package['license'] or 'see its licence file'}")
        if not there:
            lines[-1] += f" (its package has no text; by {', '.join(package['authors']) or 'its contributors'})"
        for text in there.values():
            by_text.setdefault(text, set()).add(f"{name} {version}")
    lines += ["the standard library of Rust: MIT OR Apache-2.0", ""]
    for text, owners in sorted(by_text.items(), key=lambda item: sorted(item[1])):
        lines += ["-" * 80, *sorted(owners), "", text, ""]
    return "\n".join(lines)


def bill(roots, packages, metadata, checksums):
    """The bill of materials."""
    components = []
    for name, version in packages:
        package = metadata[name, version]
        purl = f"pkg:cargo/{name}@{version}"
        component = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
        if package["license"]:
            # The older way to write a choice.
            component["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        if checksum := checksums.get((name, version)):
            component["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        components.append(component)
    root = metadata[roots[0]]
    ref = f"pkg:cargo/{root['name']}@{root['version']}"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": ref, "name": root["name"], "version": root["version"], "purl": ref}},
        "components": [component for component in components if component["bom-ref"] != ref],
    }


def main(directory, *names):
    metadata = json.loads(cargo("metadata", "--locked", "--format-version", "1"))
    own = {(package["name"], package["version"]) for package in metadata["packages"] if package["source"] is None}
    metadata = {(package["name"], package["version"]): package for package in metadata["packages"]}
    lock = tomllib.loads(pathlib.Path("Cargo.lock").read_text())
    checksums = {(package["name"], package["version"]): package["checksum"] for package in lock["package"] if "checksum" in package}
    packages = [(name, version.removeprefix("v")) for name, version in linked(names)]
    foreign = [package for package in packages if package not in own]
    unnamed = [" ".join(package) for package in foreign if not (metadata[package]["license"] or metadata[package]["license_file"])]
    if unnamed:
        sys.exit(f"no licence: {', '.join(unnamed)}")
    out = pathlib.Path(directory)
    (out / "THIRD-PARTY.txt").write_text(licences(foreign, metadata))
    roots = [package for package in own if package[0] == names[0]]
    (out / "sbom.cdx.json").write_text(json.dumps(bill(roots, packages, metadata, checksums), indent=1) + "\n")
    print(f"{len(foreign)} packages in the list of licences and the bill of materials")


if len(sys.argv) < 3:
    sys.exit(__doc__)
main(*sys.argv[1:])
