//! Serves a diffusion language model over HTTP: the program `diffulex-server`, and the parts of it that can be checked without a model.

mod api;
mod args;
mod body;
mod bound;
mod error;
mod fields;
mod keys;
mod openapi;
mod page;
mod queue;
mod routes;
mod serve;
mod sse;
mod state;
mod tools;
mod update;
mod worker;

use args::Cli;
use diffulex::engine::Limits;
use diffulex::{Error, Model, Result};
use diffulex_cli::{self as cli, demo, memory};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use queue::Queue;
use state::{Config, Server};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Bytes of a request's body.
const BODY_LIMIT: usize = 8 << 20;

/// The program.
pub fn main() -> ExitCode {
    let args = cli::parse::<Cli>(&[cli::FILES_OF_WEIGHTS]);
    cli::run(|| run(&args))
}

fn run(args: &Cli) -> Result<ExitCode> {
    args.log.start();
    let keys = args.server.api_key_file.as_deref().map(keys::Keys::read).transpose()?.unwrap_or_default();
    let metrics = recorder()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Forward passes have threads of their own; these wait for sockets.
        .worker_threads(2)
        .build()
        .map_err(|error| Error::io("threads of the server", error))?;
    let address = args.server.address();
    let listener =
        runtime.block_on(TcpListener::bind(&address)).map_err(|error| Error::io(&address, error))?;
    let model = Arc::new(open(args)?);
    let engine = &model.engine;
    // Impossible settings are found before the first request.
    engine.check(&args.decoding.overrides.policy(engine)?)?;
    let parallel = args.parallel(&model);
    let queue = Arc::new(Queue::new(args.server.queue));
    let config = Config {
        name: args.name(&model),
        defaults: args.decoding.overrides.clone(),
        max_tokens: args.server.max_tokens,
        timeout: args.server.timeout.map(Duration::from_secs),
        parallel,
        log_prompts: args.log.log_prompts,
    };
    say(args, &model, &config, &listener, keys.is_empty())?;
    let worker = start(Arc::clone(&model), Arc::clone(&queue), Limits::for_engine(engine, parallel))?;
    let started = OffsetDateTime::now_utc();
    let server = Server {
        model: Arc::clone(&model),
        queue: Arc::clone(&queue),
        config,
        keys,
        words: Default::default(),
        metrics: metrics.clone(),
        started,
    };
    let routes = routes::routes(Arc::new(server), &args.server.cors)?;
    let grace = Duration::from_secs(args.server.grace);
    runtime.spawn(keep_small(metrics));
    runtime.block_on(async {
        serve::serve(listener, routes, asked_to_end(Arc::clone(&queue)), grace).await;
    });
    queue.cut();
    let outcome = worker.join();
    runtime.shutdown_timeout(Duration::from_secs(1));
    match outcome {
        Ok(Ok(())) => Ok(ExitCode::SUCCESS),
        Ok(Err(error)) => Err(error),
        Err(_) => Ok(ExitCode::FAILURE),
    }
}

/// Reads the body of a request to a path as its route does, as far as that needs no model: what is refused, and why. `None`: no
/// such path takes a body.
///
/// # Errors
/// What the response would say.
pub fn check_body(path: &str, body: &[u8]) -> Option<std::result::Result<(), String>> {
    api::check(path, body).map(|read| read.map_err(|error| error.body().to_string()))
}

/// The model that the options name.
fn open(args: &Cli) -> Result<Model> {
    let Some(path) = &args.model.weights else {
        cli::note(demo::NOTICE);
        return demo::open(&args.model, &args.machine);
    };
    let progress = cli::Progress::start(format!("opening {}", path.display()), args.log.quiet);
    let builder = args.model.builder(&args.machine)?;
    let (model, note) = args.model.open_with(path, builder, !args.machine.no_memory_check)?;
    drop(progress);
    note.iter().for_each(|note| cli::note(note));
    Ok(model)
}

/// The engine's thread.
fn start(
    model: Arc<Model>,
    queue: Arc<Queue>,
    limits: Limits,
) -> Result<std::thread::JoinHandle<Result<()>>> {
    let thread = std::thread::Builder::new().name("engine".into());
    let run = move || {
        // Even when it panics: requests must not wait for it.
        struct Gone<'q>(&'q Queue);
        impl Drop for Gone<'_> {
            fn drop(&mut self) {
                self.0.gone();
            }
        }
        let _gone = Gone(&queue);
        let outcome = worker::run(&model, &queue, limits);
        if let Err(error) = &outcome {
            tracing::error!(%error, "the engine failed");
        }
        outcome
    };
    thread.spawn(run).map_err(|error| Error::io("the engine's thread", error))
}

/// Metrics, some of them as histograms.
fn recorder() -> Result<PrometheusHandle> {
    let failed = |error| Error::format("metrics", format!("{error}"));
    let seconds = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
    let rows = [1.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0];
    let tokens = [0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0, 32.0];
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &seconds)
        .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("rows_per_pass".into()), &rows))
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Suffix("tokens_per_forward".into()), &tokens)
        })
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(failed)
}

/// Sorts measured values into their histograms from time to time: until then every single value is kept.
async fn keep_small(metrics: PrometheusHandle) {
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        metrics.run_upkeep();
    }
}

/// Says what is served, and what it needs.
fn say(args: &Cli, model: &Model, config: &Config, listener: &TcpListener, is_open: bool) -> Result<()> {
    let address = listener.local_addr().map_err(|error| Error::io(args.server.address(), error))?;
    let engine = &model.engine;
    let positions = config.parallel * engine.context();
    let bytes = engine.model().kv_shape().bytes_per_token(engine.kv()) as u64 * positions as u64;
    cli::note(&format!(
        "serving {} ({}, {} weights) on http://{address}\n\
         {} sequences at a time, {} positions each, keys and values {}; {} requests may wait",
        config.name,
        engine.arch().family,
        engine.model().weight_format(),
        config.parallel,
        engine.context(),
        cli::readable(bytes),
        args.server.queue,
    ));
    if let Some(available) = memory::available().filter(|&available| bytes > available) {
        let reason = format!(
            "{} sequences of {} positions need {} for keys and values, {} are available; reduce --parallel or --context",
            config.parallel,
            engine.context(),
            cli::readable(bytes),
            cli::readable(available)
        );
        return Err(Error::option("parallel", reason));
    }
    if is_open && !address.ip().is_loopback() {
        cli::note(
            "warning: anybody who reaches this address can use the model; --api-key-file makes it require a key",
        );
    }
    Ok(())
}

/// Ready when the process is told to end, or its engine has failed: no new requests from then on.
async fn asked_to_end(queue: Arc<Queue>) {
    let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be caught");
    let mut interrupt = signal(SignalKind::interrupt()).expect("SIGINT can be caught");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        // A supervisor can start the process again.
        () = queue.ended() => return,
    }
    tracing::info!("shutting down: running requests are being finished");
    queue.drain();
}
