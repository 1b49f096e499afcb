//! Clients that disconnect, come in large numbers or send nonsense, and a server that is told to end.

use crate::{Server, content, question};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;

/// A request, written by hand, and its connection.
fn send(server: &Server, path: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    stream
}

/// A story that is told until the context ends.
fn endless(stream: bool) -> String {
    let mut body = question("Tell a story about Mia the fox.");
    body["stream"] = stream.into();
    body["max_tokens"] = 400.into();
    // So slow that its end is not reached in the test.
    body["diffusion"] = json!({ "threshold": 1.0 });
    body.to_string()
}

/// Waits until no request runs or waits.
pub(super) fn settle(server: &Server) {
    for name in ["diffulex_requests_running", "diffulex_requests_waiting"] {
        while server.metric(name) > 0.0 {
            thread::yield_now();
        }
    }
}

#[test]
fn a_client_that_goes_away_is_not_worked_for() {
    let server = Server::start(&["--parallel", "2"]);
    let expected = server.post("/v1/chat/completions", &question("What is 27 + 45?")).1;
    for stream in [true, false] {
        let connections: Vec<_> =
            (0..6).map(|_| send(&server, "/v1/chat/completions", &endless(stream))).collect();
        if stream {
            // The first one has begun.
            let mut line = String::new();
            BufReader::new(&connections[0]).read_line(&mut line).unwrap();
            assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        }
        drop(connections);
        let after = server.post("/v1/chat/completions", &question("What is 27 + 45?")).1;
        assert_eq!(content(&after), content(&expected));
        settle(&server);
    }
}

#[test]
fn more_than_may_wait_are_told_to_come_back() {
    let server = Server::start(&["--parallel", "1", "--queue", "1"]);
    let connections: Vec<_> =
        (0..8).map(|_| send(&server, "/v1/chat/completions", &endless(false))).collect();
    // Requests without a place are answered at once; the others do not end during this check.
    let mut refused = 0;
    while server.metric("diffulex_requests_total{refused=\"yes\"}") < 6.0 {
        thread::yield_now();
    }
    for mut stream in &connections {
        stream.set_nonblocking(true).unwrap();
        let mut text = vec![0; 4096];
        if let Ok(read) = stream.read(&mut text) {
            let text = String::from_utf8_lossy(&text[..read]);
            assert!(text.starts_with("HTTP/1.1 429") && text.contains("retry-after: "), "{text}");
            assert!(text.contains("rate_limit_error"), "{text}");
            refused += 1;
        }
    }
    assert!((5..=7).contains(&refused), "{refused} of 8 refused");
}

#[test]
fn nonsense_disturbs_nobody() {
    let server = Server::start(&[]);
    let expected = server.post("/v1/chat/completions", &question("What is 27 + 45?")).1;
    let header_flood = format!("GET / HTTP/1.1\r\n{}", "x: y\r\n".repeat(100_000));
    for bytes in [
        &b"\x00\xff\xfe garbage\r\n\r\n"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n\xff\xfe\xfd",
        header_flood.as_bytes(),
    ] {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        // The server may have closed it already.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    // Half a request, whose rest never comes.
    let _half = (0..50).map(|_| {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        stream
            .write_all(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
            .unwrap();
        stream
    });
    let _half: Vec<_> = _half.collect();
    let after = server.post("/v1/chat/completions", &question("What is 27 + 45?")).1;
    assert_eq!(content(&after), content(&expected));
}

#[test]
fn a_request_that_takes_too_long_is_cut() {
    let server = Server::start(&["--timeout", "1"]);
    let mut slow = question("Tell a story about Mia the fox.");
    // More work than a second holds on any machine: answers of many sequences of guidance.
    slow["n"] = 32.into();
    slow["max_tokens"] = 400.into();
    slow["diffusion"] = json!({ "threshold": 1.0, "cfg": 1.0 });
    let (status, answer) = server.post("/v1/chat/completions", &slow);
    if status == 200 {
        eprintln!("skipped: this machine answers 32 requests of 400 tokens in a second");
        return;
    }
    assert_eq!((status, &answer["error"]["code"]), (504, &json!("timeout")), "{answer}");
    settle(&server);
}

#[test]
fn asked_to_end_it_finishes_what_runs() {
    let mut server = Server::start(&[]);
    let mut body: Value = question("Tell a story about Mia the fox.");
    body["stream"] = true.into();
    let stream = send(&server, "/v1/chat/completions", &body.to_string());
    let mut reader = BufReader::new(stream);
    let mut text = String::new();
    while !text.contains("data: ") {
        reader.read_line(&mut text).unwrap();
    }
    let id = server.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    reader.read_to_string(&mut text).unwrap();
    assert!(text.contains("data: [DONE]"), "{text}");
    assert!(server.child.wait().unwrap().success());
}
