//! Which of several processes runs a job: told in its answer, and to a witness that outlives the process.

use http::{HeaderName, HeaderValue, Response};
use serde_json::json;
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
    sync::Arc,
};
use tower_lro::OperationHandle;

const JOB_NODE: HeaderName = HeaderName::from_static("job-node");

/// This process, as jobs know it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    name: Option<HeaderValue>,
    witness: Option<Arc<File>>,
}

impl Node {
    pub(crate) fn name(&mut self, name: &str) -> Result<(), String> {
        let value = HeaderValue::from_str(name).ok();
        let value = value.filter(|value| !value.is_empty() && value.to_str().is_ok());
        self.name = Some(value.ok_or_else(|| format!("--node: {name:?} can't stand in a field"))?);
        Ok(())
    }

    /// For appending: what other processes write there stays.
    pub(crate) fn witness(&mut self, path: &Path) -> Result<(), String> {
        let opened = OpenOptions::new().append(true).create(true).open(path);
        let failed = |error: io::Error| format!("--witness {}: {error}", path.display());
        self.witness = Some(Arc::new(opened.map_err(failed)?));
        Ok(())
    }

    /// Tells the witness. It is there before the job goes on, whatever becomes of this process.
    pub(crate) fn tell(
        &self,
        event: &str,
        operation: Option<&OperationHandle>,
        echo: &str,
    ) -> io::Result<()> {
        let Some(mut witness) = self.witness.as_deref() else {
            return Ok(());
        };
        let name = self.name.as_ref().and_then(|name| name.to_str().ok());
        let line = json!({
            "node": name,
            "attempt": operation.map_or(1, OperationHandle::attempt),
            "event": event,
            "echo": echo,
        });
        // In one write, so that lines of several processes do not mix.
        witness.write_all(format!("{line}\n").as_bytes())
    }

    pub(crate) fn mark<B>(&self, response: &mut Response<B>) {
        if let Some(name) = &self.name {
            response.headers_mut().insert(JOB_NODE, name.clone());
        }
    }
}
