//! Every curl line of docs/server.md works as it is printed.

use crate::Server;
use std::process::Command;

#[test]
fn the_lines_of_the_document_are_answered() {
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("skipped: no curl");
        return;
    }
    let document = include_str!("../../../../docs/server.md");
    let blocks = document.split("```sh\n").skip(1).filter_map(|block| block.split("```").next());
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
