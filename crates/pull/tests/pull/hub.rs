//! A hub for tests: models in memory, and what can go wrong with a server.

use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What goes wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// This many times, the connection ends after this many bytes.
    Breaks { times: usize, after: usize },
    /// This many times, a byte of the content is changed.
    Wrong { times: usize },
    /// The file is said to have this many bytes more than come.
    Short(usize),
    /// The server answers with this status.
    Status(u16),
    /// The server takes the request and says nothing.
    Silent,
    /// The checksum is said to be this.
    Named(&'static str),
    /// Ranges are ignored: the whole file comes with status 200, after it broke off once.
    Whole { after: usize, broken: bool },
}

#[derive(Default)]
pub(crate) struct Model {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) faults: BTreeMap<String, Fault>,
    /// Requests need this token.
    pub(crate) token: Option<&'static str>,
    /// Large files are at another address.
    pub(crate) redirects: bool,
    /// The description of the model is answered with this.
    pub(crate) listing: Option<Result<String, u16>>,
    /// The first words of all requests, and their ranges.
    pub(crate) seen: Vec<String>,
}

/// A server of one model, `Org/Name`.
pub(crate) struct Hub {
    pub(crate) address: String,
    pub(crate) model: Arc<Mutex<Model>>,
}

impl Hub {
    pub(crate) fn start(model: Model) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let model = Arc::new(Mutex::new(model));
        let (shared, own) = (Arc::clone(&model), address.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (shared, own) = (Arc::clone(&shared), own.clone());
                std::thread::spawn(move || answer(&stream.unwrap(), &shared, &own));
            }
        });
        Self { address, model }
    }

    pub(crate) fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.model.lock().unwrap().seen)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn large(name: &str) -> bool {
    name.ends_with(".safetensors")
}

pub(crate) fn sum(name: &str, content: &[u8]) -> String {
    if large(name) {
        return hex(&Sha256::digest(content));
    }
    hex(&Sha1::new().chain_update(format!("blob {}\0", content.len())).chain_update(content).finalize())
}

fn listing(model: &Model) -> String {
    let siblings: Vec<_> = model
        .files
        .iter()
        .map(|(name, content)| {
            let (size, sum) = (content.len(), sum(name, content));
            let lfs = large(name).then(|| format!(r#", "lfs": {{"sha256": "{sum}", "size": {size}}}"#));
            let blob = if large(name) { COMMIT } else { &sum };
            let rest = lfs.unwrap_or_default();
            format!(r#"{{"rfilename": "{name}", "size": {size}, "blobId": "{blob}"{rest}}}"#)
        })
        .collect();
    format!(r#"{{"id": "Org/Name", "sha": "{COMMIT}", "siblings": [{}]}}"#, siblings.join(", "))
}

/// Status, further headers, body.
type Answer = (u16, Vec<String>, Vec<u8>);

fn answer(stream: &TcpStream, model: &Mutex<Model>, own: &str) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    let headers: Vec<_> = lines.take_while(|line| !line.is_empty()).map(|line| line.to_lowercase()).collect();
    let header = |name: &str| headers.iter().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let range = header("range:").and_then(|range| range.strip_prefix("bytes="));
    let mut model = model.lock().unwrap();
    model.seen.push(format!("{path} {}", range.unwrap_or_default()));
    let name = path.rsplit('/').next().unwrap_or_default().to_owned();
    if model.faults.get(&name) == Some(&Fault::Silent) {
        drop(model);
        std::thread::sleep(std::time::Duration::from_secs(30));
        return;
    }
    let known = header("authorization:").and_then(|value| value.strip_prefix("bearer "));
    let (status, more, body) = match model.token {
        Some(token) if known != Some(token) => (401, Vec::new(), Vec::new()),
        _ => routed(&mut model, &path, &name, range, own),
    };
    drop(model);
    let mut stream = stream;
    let length = more.iter().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\n");
    for line in more.iter().filter(|line| !line.starts_with("content-length")) {
        head += &format!("{line}\r\n");
    }
    head += &format!("content-length: {}\r\n\r\n", length.unwrap_or(body.len()));
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
}

fn routed(model: &mut Model, path: &str, name: &str, range: Option<&str>, own: &str) -> Answer {
    if let Some(rest) = path.strip_prefix("/api/models/") {
        return match &model.listing {
            Some(Ok(text)) => (200, Vec::new(), text.clone().into_bytes()),
            Some(Err(status)) => (*status, Vec::new(), Vec::new()),
            None if rest.starts_with("Org/Name/revision/main?") => {
                (200, Vec::new(), listing(model).into_bytes())
            }
            // The hub redirects an id in another letter case to the right one.
            None if rest.starts_with("org/name/") => {
                let right =
                    format!("location: {own}/api/models/Org/Name/{}", rest.replacen("org/name/", "", 1));
                (307, vec![right], Vec::new())
            }
            None => (404, Vec::new(), Vec::new()),
        };
    }
    let Some(content) = model.files.get(name).cloned() else { return (404, Vec::new(), Vec::new()) };
    let sum = match model.faults.get(name) {
        Some(Fault::Named(sum)) => (*sum).to_owned(),
        _ => sum(name, &content),
    };
    let identity =
        [format!("x-repo-commit: {COMMIT}"), format!("x-linked-etag: \"{sum}\""), format!("etag: \"{sum}\"")];
    if path.starts_with("/Org/Name/resolve/") && model.redirects && large(name) {
        let location = format!("location: {own}/cdn/{name}");
        return (302, identity.into_iter().chain([location]).collect(), Vec::new());
    }
    let (from, to) = range.and_then(|range| range.split_once('-')).unwrap_or(("0", ""));
    let from: usize = from.parse().unwrap();
    let to = to.parse().map_or(content.len(), |to: usize| (to + 1).min(content.len()));
    // A request of one byte is made to learn size and checksum.
    let whole = to == content.len();
    ranged(model.faults.get_mut(name).filter(|_| whole), &content, from, to, identity.to_vec())
}

fn ranged(
    fault: Option<&mut Fault>,
    content: &[u8],
    from: usize,
    to: usize,
    mut more: Vec<String>,
) -> Answer {
    let mut body = content[from.min(to)..to].to_vec();
    let mut all = content.len();
    let full = body.len();
    match fault {
        Some(Fault::Breaks { times, after }) if *times > 0 => {
            *times -= 1;
            body.truncate(*after);
        }
        Some(Fault::Wrong { times }) if *times > 0 => {
            *times -= 1;
            if let Some(byte) = body.last_mut() {
                *byte ^= 1;
            }
        }
        Some(Fault::Short(missing)) => {
            body.truncate(full - *missing);
            all -= *missing;
            more.push(format!("content-range: bytes {from}-{}/{all}", to - *missing - 1));
            return (206, more, body);
        }
        Some(Fault::Status(status)) => return (*status, Vec::new(), Vec::new()),
        Some(Fault::Whole { after, broken }) => {
            body = content.to_vec();
            if !std::mem::replace(broken, true) {
                body.truncate(*after);
            }
            more.push(format!("content-length: {}", content.len()));
            return (200, more, body);
        }
        _ => {}
    }
    more.push(format!("content-range: bytes {from}-{}/{all}", to.saturating_sub(1)));
    more.push(format!("content-length: {full}"));
    (206, more, body)
}
