//! Every curl line of docs/server.md and docs/decisions.md works as it is printed.

use crate::Server;
use std::process::Command;

/// Options of the server alone; those of models, machines and decoding are in the guide and docs/decoding.md.
#[test]
fn every_option_is_in_a_document() {
    let help = Command::new(env!("CARGO_BIN_EXE_diffulex-server")).arg("--help").output().unwrap().stdout;
    let help = String::from_utf8(help).unwrap();
    let documents = concat!(
        include_str!("../../../../docs/server.md"),
        include_str!("../../../../docs/guide.md"),
        include_str!("../../../../docs/decoding.md"),
    );
    let words = help.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 2);
    let options = words.map(|word| word.trim_end_matches(|c: char| !c.is_alphanumeric()));
    let missing: Vec<_> = options.filter(|option| !documents.contains(&format!("`{option}"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_lines_of_the_document_are_answered() {
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("skipped: no curl");
        return;
    }
    let documents =
        concat!(include_str!("../../../../docs/server.md"), include_str!("../../../../docs/decisions.md"));
    let blocks = documents.split("```sh\n").skip(1).filter_map(|block| block.split("```").next());
    let blocks: Vec<_> = blocks.filter(|block| block.starts_with("curl")).collect();
    assert!(blocks.len() >= 6, "{blocks:?}");
    let server = Server::start(&[]);
    for block in blocks {
        let script =
            block.replace("127.0.0.1:8080", &server.address).replace("curl ", "curl -sS --fail-with-body ");
        let output = Command::new("sh").args(["-e", "-c", &script]).output().unwrap();
        let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        assert!(output.status.success() && !out.is_empty(), "{block}{out}{err}");
    }
}
