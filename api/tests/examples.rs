//! Every manifest that the repository shows is accepted without a word, and what it reads is there.

use std::fs;
use std::path::{Path, PathBuf};

use api::manifest::{Manifest, read};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn accepted(name: &str, text: &str) -> Manifest {
    let report = read(name, text.as_bytes(), &[]);
    let said: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert!(said.is_empty(), "{}", said.join("\n"));
    report.manifest.expect("no findings")
}

fn names_in(folder: &Path, ending: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("folder").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(ending)).collect();
    names.sort();
    names
}

#[test]
fn every_example_is_accepted_and_finds_its_data() {
    let folder = root().join("examples");
    let examples = names_in(&folder, ".yaml");
    assert!(examples.len() >= 4, "{examples:?}");
    for (i, name) in examples.iter().enumerate() {
        assert!(name.starts_with(&format!("{:02}-", i + 1)), "examples are numbered without gaps: {name}");
        let manifest = accepted(name, &fs::read_to_string(folder.join(name)).expect("text"));
        for files in manifest.pipeline.spec.sources.iter().filter_map(|source| source.files.as_ref()) {
            let (before, after) = files.path.split_once('*').unwrap_or((&files.path, ""));
            let data = names_in(&folder.join("data"), after);
            let found = data.iter().any(|name| format!("data/{name}").starts_with(before));
            assert!(found, "{name} reads {}, which is not there", files.path);
        }
    }
}

#[test]
fn every_manifest_in_the_documents_is_accepted() {
    let mut shown = 0;
    let documents = ["README.md".to_owned()].into_iter();
    let documents =
        documents.chain(names_in(&root().join("docs"), ".md").into_iter().map(|name| format!("docs/{name}")));
    for document in documents {
        let text = fs::read_to_string(root().join(&document)).expect("text");
        let blocks = text.split("```yaml\n").skip(1).filter_map(|block| block.split("```").next());
        for manifest in blocks.filter(|block| block.contains("kind: Pipeline")) {
            accepted(&document, manifest);
            shown += 1;
        }
    }
    assert!(shown > 0, "the README shows a manifest");
}
