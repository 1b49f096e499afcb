//! The server as clients see it: a process of its own, with the built-in demo model.

mod abuse;
mod clients;
mod decisions;
mod denoise;
mod deploy;
mod documents;
mod errors;
mod ollama;
mod openai;
mod openapi;
mod structured;
mod tools;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;

/// A running server, which ends with the test.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    /// Starts one with these options, on a free port.
    fn start(options: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_diffulex-server"))
            .args(["--port", "0", "--threads", "1"])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program was built");
        let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut said = String::new();
        let address = loop {
            let mut line = String::new();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "the server ended: {said}");
            said += &line;
            if let Some((_, address)) = line.trim().split_once("on http://") {
                break address.to_string();
            }
        };
        // A full pipe would stop the server.
        thread::spawn(move || stderr.lines().for_each(drop));
        let server = Self { child, address };
        while server.get("/health").0 != 200 {
            thread::yield_now();
        }
        server
    }

    fn agent() -> ureq::Agent {
        ureq::Agent::config_builder().http_status_as_error(false).build().into()
    }

    /// Status and body.
    fn get(&self, path: &str) -> (u16, String) {
        let mut response = Self::agent().get(format!("http://{}{path}", self.address)).call().unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    }

    /// Status and body.
    fn post_text(&self, path: &str, body: &str, headers: &[(&str, &str)]) -> (u16, String) {
        let mut request = Self::agent().post(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = request.send(body).unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    }

    /// Status and body, which is JSON.
    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, text) = self.post_text(path, &body.to_string(), &[]);
        (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: {text}")))
    }

    /// The data of all events of a stream.
    fn events(&self, path: &str, body: &Value) -> Vec<String> {
        let (status, text) = self.post_text(path, &body.to_string(), &[]);
        assert_eq!(status, 200, "{text}");
        text.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_string).collect()
    }

    /// The value of a metric without labels; 0 if it was never recorded.
    fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").1;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A conversation of one question.
fn question(text: &str) -> Value {
    json!({ "messages": [{ "role": "user", "content": text }] })
}

/// The answer in a response of `/v1/chat/completions`.
fn content(response: &Value) -> &str {
    response["choices"][0]["message"]["content"].as_str().unwrap_or_else(|| panic!("{response}"))
}
