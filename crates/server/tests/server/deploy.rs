//! `deploy/`: what it says about the server is true.

use crate::Server;
use saphyr::{LoadableYamlNode, Yaml};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_diffulex-server");
const INSTALLED: &str = "/usr/local/bin/diffulex-server";

fn deployed(name: &str) -> String {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Starts a server with the options of a deployment, but with the demo model. Options that do not exist, or with values out of range,
/// end it.
fn start(options: &[&str]) -> (Server, BTreeMap<String, String>) {
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../../demo/sdar");
    let (mut own, mut values, mut rest) = (Vec::new(), BTreeMap::new(), options.iter());
    while let Some(&option) = rest.next() {
        let value = *rest.next().expect("every option here has a value");
        values.insert(option.to_owned(), value.to_owned());
        own.extend([option, if option == "--weights" { demo } else { value }]);
    }
    (Server::start(&own), values)
}

/// The port that the server listens on unless it is told otherwise.
fn default_port() -> i64 {
    let help = Command::new(PROGRAM).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let after = help.split_once("--port").expect("there is such an option").1;
    let default = after.split_once("[default: ").expect("it has a default").1;
    default.split_once(']').unwrap().0.parse().unwrap()
}

#[test]
fn the_image_runs_the_program_with_options_that_it_has() {
    let text = deployed("Dockerfile");
    let line = |word: &str| -> Vec<&str> {
        text.lines().filter_map(|line| line.strip_prefix(word)?.strip_prefix(' ')).collect()
    };
    assert!(line("RUN").iter().any(|run| run.contains("-p diffulex-server")));
    assert!(
        line("COPY")
            .iter()
            .any(|copy| copy.ends_with(&format!("target/release/diffulex-server {INSTALLED}")))
    );
    assert_eq!(line("EXPOSE"), [default_port().to_string()]);
    let entry: Vec<String> = serde_json::from_str(line("ENTRYPOINT")[0]).unwrap();
    assert_eq!(entry[0], INSTALLED);
    let options: Vec<&str> = entry[1..].iter().map(String::as_str).collect();
    start(&options);
    let version = text.lines().find_map(|line| line.strip_prefix("FROM rust:")).unwrap();
    let needed = concat!(env!("CARGO_PKG_RUST_VERSION"));
    assert!(version.starts_with(needed), "the image has Rust {version}, {needed} is needed");
}

#[test]
fn the_manifests_agree_with_the_server_and_each_other() {
    let text = deployed("kubernetes.yaml");
    let all = Yaml::load_from_str(&text).unwrap();
    let kind = |kind: &str| all.iter().find(|one| one["kind"].as_str() == Some(kind)).unwrap();
    let deployment = &kind("Deployment")["spec"];
    let pod = &deployment["template"]["spec"];
    let container = &pod["containers"][0];
    let args: Vec<&str> =
        container["args"].as_sequence().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect();
    let (server, options) = start(&args);
    let grace: i64 = options["--grace"].parse().unwrap();
    assert!(pod["terminationGracePeriodSeconds"].as_integer().unwrap() > grace);
    // Ports.
    let port = &container["ports"][0];
    assert_eq!(port["containerPort"].as_integer(), Some(default_port()));
    let name = port["name"].as_str().unwrap();
    assert_eq!(kind("Service")["spec"]["ports"][0]["targetPort"].as_str(), Some(name));
    for probe in ["startupProbe", "readinessProbe"] {
        let get = &container[probe]["httpGet"];
        assert_eq!(get["port"].as_str(), Some(name), "{probe}");
        assert_eq!(server.get(get["path"].as_str().unwrap()).0, 200, "{probe}");
    }
    assert_eq!(container["livenessProbe"]["tcpSocket"]["port"].as_str(), Some(name));
    // Metrics.
    let notes = &deployment["template"]["metadata"]["annotations"];
    assert_eq!(notes["prometheus.io/port"].as_str(), Some(&*default_port().to_string()));
    server.post("/v1/chat/completions", &crate::question("What is 27 + 45?"));
    let metrics = server.get(notes["prometheus.io/path"].as_str().unwrap()).1;
    let scaler = &kind("HorizontalPodAutoscaler")["spec"];
    let metric = scaler["metrics"][0]["pods"]["metric"]["name"].as_str().unwrap();
    assert!(metrics.contains(&format!("\n{metric} ")), "{metric} is not a metric of the server:\n{metrics}");
    // Names and labels.
    let name = kind("Deployment")["metadata"]["name"].as_str();
    assert_eq!(scaler["scaleTargetRef"]["name"].as_str(), name);
    let labels = &deployment["template"]["metadata"]["labels"]["app"];
    assert_eq!(&deployment["selector"]["matchLabels"]["app"], labels);
    assert_eq!(&kind("Service")["spec"]["selector"]["app"], labels);
    assert_eq!(&kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"]["app"], labels);
    let volume = &pod["volumes"][0]["name"];
    assert_eq!(&container["volumeMounts"][0]["name"], volume);
    assert_eq!(container["volumeMounts"][0]["mountPath"].as_str(), Some(options["--weights"].as_str()));
}

#[test]
fn the_unit_of_systemd_runs_the_program_with_options_that_it_has() {
    let text = deployed("diffulex-server.service");
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap();
    let mut words = value("ExecStart").split_whitespace();
    assert_eq!(words.next(), Some(INSTALLED));
    let (_server, options) = start(&words.collect::<Vec<_>>());
    let grace: i64 = options["--grace"].parse().unwrap();
    assert!(value("TimeoutStopSec").parse::<i64>().unwrap() > grace);
    assert!(Path::new(&options["--weights"]).starts_with(value("ReadOnlyPaths")));
    let folder = std::env::temp_dir().join(format!("diffulex-unit-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let unit = folder.join("diffulex-server.service");
    fs::write(&unit, text.replace(INSTALLED, PROGRAM)).unwrap();
    match Command::new("systemd-analyze").arg("verify").arg(&unit).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && !said.contains(unit.to_str().unwrap()), "{said}");
        }
        Err(error) => eprintln!("skipped: systemd-analyze verify ({error})"),
    }
    fs::remove_dir_all(&folder).unwrap();
}
