//! What the command line and the environment say.

use crate::node::Node;
use std::{fmt::Write, num::NonZeroU16, path::PathBuf, sync::Arc, time::Duration};
use tower_lro::{
    DeferLayer, Limits,
    store::{SqliteError, SqliteOptions, SqliteStore},
};

pub(crate) enum Command {
    Serve(Box<Options>),
    Help,
}

pub(crate) struct Options {
    pub(crate) listen: String,
    pub(crate) base_url: Option<String>,
    /// How long an answer is held back when the client does not say.
    pub(crate) hold: Duration,
    pub(crate) strict_keys: bool,
    /// What running work is given at the end.
    pub(crate) drain: Duration,
    pub(crate) limits: Limits,
    /// A file that keeps operations; memory without one.
    pub(crate) file: Option<PathBuf>,
    lease: Option<Duration>,
    /// Whether nothing runs in this process.
    pub(crate) accept_only: bool,
    attempts: NonZeroU16,
    pub(crate) node: Node,
}

impl Options {
    /// The file that keeps the operations of all prefixes, if there is one.
    pub(crate) fn open(&self) -> Result<Option<Arc<SqliteStore>>, SqliteError> {
        let Some(path) = &self.file else {
            return Ok(None);
        };
        let mut options = SqliteOptions::default();
        if let Some(lease) = self.lease {
            options = options.lease(lease);
        }
        // Of memory there is less than of disk: what was not asked for is the file's default.
        let (asked, unasked) = (&self.limits, Limits::default());
        if asked.stored != unasked.stored {
            options = options.operations(asked.stored);
        }
        if asked.stored_bytes != unasked.stored_bytes {
            options = options.bytes(asked.stored_bytes);
        }
        if asked.tombstones != unasked.tombstones {
            options = options.tombstones(asked.tombstones);
        }
        options = options.tombstone_for(asked.tombstone_for);
        options.open(path).map(|store| Some(Arc::new(store)))
    }

    /// Who runs what is accepted, and how often.
    pub(crate) fn runs<M>(&self, layer: DeferLayer<M>) -> DeferLayer<M> {
        let layer = layer.attempts(self.attempts);
        if self.accept_only {
            layer.accept_only()
        } else {
            layer
        }
    }
}

/// Where a flag's value goes.
enum Field {
    Time(fn(&mut Limits) -> &mut Duration),
    Count(fn(&mut Limits) -> &mut usize),
    Number(fn(&mut Limits) -> &mut u64),
    Bytes(fn(&mut Limits) -> &mut u64),
}

use Field::{Bytes, Count, Number, Time};

/// The limits of `/plain/jobs`, named as in [`Limits`].
const LIMITS: &[(&str, Field, &str)] = &[
    (
        "request-body",
        Bytes(|l| &mut l.request_body),
        "one request body",
    ),
    (
        "uploading-bytes",
        Bytes(|l| &mut l.uploading_bytes),
        "all bodies that are being read",
    ),
    (
        "upload-time",
        Time(|l| &mut l.upload_time),
        "reading one body",
    ),
    (
        "response-body",
        Bytes(|l| &mut l.response_body),
        "one response body",
    ),
    (
        "running",
        Count(|l| &mut l.running),
        "operations that run at a time",
    ),
    (
        "accepted",
        Count(|l| &mut l.accepted),
        "operations that wait for their turn",
    ),
    (
        "start-within",
        Time(|l| &mut l.start_within),
        "longest wait for the turn",
    ),
    ("run-time", Time(|l| &mut l.run_time), "longest run"),
    (
        "cancel-grace",
        Time(|l| &mut l.cancel_grace),
        "given to a cancelled job",
    ),
    ("keep-for", Time(|l| &mut l.keep_for), "life after the end"),
    (
        "tombstone-for",
        Time(|l| &mut l.tombstone_for),
        "410 instead of 404 after that",
    ),
    (
        "tombstones",
        Number(|l| &mut l.tombstones),
        "ids so remembered",
    ),
    (
        "stored",
        Number(|l| &mut l.stored),
        "operations, pending and ended",
    ),
    (
        "stored-bytes",
        Bytes(|l| &mut l.stored_bytes),
        "all stored responses",
    ),
    (
        "wait",
        Time(|l| &mut l.wait),
        "longest wait that a client may ask for",
    ),
    (
        "readers",
        Count(|l| &mut l.readers),
        "readers that wait at a time",
    ),
    (
        "readers-per-operation",
        Count(|l| &mut l.readers_per_operation),
        "of those, for the same one",
    ),
    (
        "retry-after",
        Time(|l| &mut l.retry_after),
        "what Retry-After says",
    ),
];

const DRAIN: Duration = Duration::from_secs(10);

pub(crate) fn help() -> String {
    let mut help = String::from(
        "A server to point clients and load at; GET / tells what it serves.\n\n\
         Usage: workbench [FLAG VALUE]...\n\n\
         \x20 --listen ADDR            [127.0.0.1:8080, or PORT of the environment]\n\
         \x20 --base-url URL           what URLs begin with [http://ADDR; path-absolute for /work]\n\
         \x20 --hold TIME              an answer is held back so long when the client does not say [0s]\n\
         \x20 --strict-keys            409 to a repeated idempotency key until the operation has ended\n\
         \x20 --drain TIME             given to running work at the end [10s]\n\
         \x20 --node NAME              jobs that run here are answered with `Job-Node: NAME`\n\
         \x20 --witness FILE           gets a line when a job begins or ends here, before it goes on\n\
         \x20 --store STORE            memory, or sqlite:PATH: a file, which several processes may share [memory]\n\
         \x20 --help\n\n\
         With --store sqlite:PATH, /work included:\n\n\
         \x20 --lease TIME             a process that is dead for so long loses what it runs [15s]\n\
         \x20 --attempts N             runs of one operation whose processes die; once only those end as lost [1]\n\
         \x20 --accept-only            runs nothing: that is for processes without this flag\n\n\
         Limits of /plain/jobs. TIME: 400ms, 30s, 2h 5m, or seconds. BYTES: 4096, 64KiB, 2MiB, 1GiB.\n\n",
    );
    let mut limits = Limits::default();
    for (name, field, what) in LIMITS {
        let (kind, default) = match field {
            Time(at) => (
                "TIME",
                humantime::format_duration(*at(&mut limits)).to_string(),
            ),
            Count(at) => ("N", at(&mut limits).to_string()),
            Number(at) => ("N", at(&mut limits).to_string()),
            Bytes(at) => ("BYTES", format!("{}MiB", *at(&mut limits) >> 20)),
        };
        let flag = format!("--{name} {kind}");
        let _ = writeln!(help, "  {flag:<26} {what} [{default}]");
    }
    help.push_str(
        "\nOf a file: stored [1000000], stored-bytes [4096MiB], tombstones [1000000], for /work too.\n\
         \n/work lifts the limits. Its environment: WORK_MS, how long the work sleeps [0]; EXPIRE_SECS, life after the\n\
         end [86400].\n",
    );
    help
}

/// Reads the arguments; what can't be is told in words.
pub(crate) fn read(arguments: impl IntoIterator<Item = String>) -> Result<Command, String> {
    let listen = match std::env::var("PORT") {
        Ok(port) => match port.parse::<u16>() {
            Ok(port) => format!("127.0.0.1:{port}"),
            Err(_) => return Err(format!("PORT is no port: {port:?}")),
        },
        Err(_) => "127.0.0.1:8080".into(),
    };
    let mut options = Options {
        listen,
        base_url: None,
        hold: Duration::ZERO,
        strict_keys: false,
        drain: DRAIN,
        limits: Limits::default(),
        file: None,
        lease: None,
        accept_only: false,
        attempts: NonZeroU16::MIN,
        node: Node::default(),
    };
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let (flag, inline) = match argument.split_once('=') {
            Some((flag, value)) => (flag.to_owned(), Some(value.to_owned())),
            None => (argument, None),
        };
        match (flag.as_str(), &inline) {
            ("--help" | "-h", None) => return Ok(Command::Help),
            ("--strict-keys", None) => {
                options.strict_keys = true;
                continue;
            }
            ("--accept-only", None) => {
                options.accept_only = true;
                continue;
            }
            _ => {}
        }
        let mut value = || {
            let value = inline.clone().or_else(|| arguments.next());
            value.ok_or_else(|| format!("{flag} wants a value"))
        };
        match flag.as_str() {
            "--listen" => options.listen = value()?,
            "--base-url" => options.base_url = Some(value()?),
            "--hold" => options.hold = time(&flag, &value()?)?,
            "--drain" => options.drain = time(&flag, &value()?)?,
            "--store" => options.file = store(&flag, &value()?)?,
            "--lease" => options.lease = Some(time(&flag, &value()?)?),
            "--attempts" => options.attempts = number(&flag, &value()?)?,
            "--node" => options.node.name(&value()?)?,
            "--witness" => options.node.witness(value()?.as_ref())?,
            _ => {
                let name = flag.strip_prefix("--");
                let Some((_, field, _)) = LIMITS.iter().find(|(known, ..)| Some(*known) == name)
                else {
                    return Err(format!("{flag:?} is not known"));
                };
                let (limits, value) = (&mut options.limits, value()?);
                match field {
                    Time(at) => *at(limits) = time(&flag, &value)?,
                    Count(at) => *at(limits) = number(&flag, &value)?,
                    Number(at) => *at(limits) = number(&flag, &value)?,
                    Bytes(at) => *at(limits) = bytes(&flag, &value)?,
                }
            }
        }
    }
    if options.file.is_none() {
        // In memory nobody else could run what is accepted here, and nothing outlives this process.
        let idle = [
            ("--lease", options.lease.is_some()),
            ("--attempts", options.attempts > NonZeroU16::MIN),
            ("--accept-only", options.accept_only),
        ];
        if let Some((flag, _)) = idle.iter().find(|(_, told)| *told) {
            return Err(format!("{flag} wants --store sqlite:PATH"));
        }
    }
    Ok(Command::Serve(Box::new(options)))
}

fn store(flag: &str, value: &str) -> Result<Option<PathBuf>, String> {
    match (value, value.strip_prefix("sqlite:")) {
        ("memory", _) => Ok(None),
        (_, Some(path)) if !path.is_empty() => Ok(Some(path.into())),
        _ => Err(format!(
            "{flag}: {value:?} is neither memory nor sqlite:PATH"
        )),
    }
}

fn time(flag: &str, value: &str) -> Result<Duration, String> {
    match value.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => {
            humantime::parse_duration(value).map_err(|_| format!("{flag}: {value:?} is no time"))
        }
    }
}

fn number<N: std::str::FromStr>(flag: &str, value: &str) -> Result<N, String> {
    value
        .parse()
        .map_err(|_| format!("{flag}: {value:?} is no number"))
}

fn bytes(flag: &str, value: &str) -> Result<u64, String> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("", 0)];
    let found = units.iter().find_map(|(unit, shift)| {
        let number = value.strip_suffix(unit)?.trim().parse::<u64>().ok()?;
        number.checked_mul(1 << shift)
    });
    found.ok_or_else(|| format!("{flag}: {value:?} is no number of bytes"))
}
