//! A service of an official SDK as a process of its own, a sidecar before it, and keys.

use std::process::Command;

use serde_json::Value;

use crate::{
    harness::weir_in,
    sidecar::{Running, Sidecar},
    tools::{Language, said_at, trust, values},
};

/// The service, the sidecar and the keys of two tiers, `free` and `tiny`.
pub struct Site {
    pub server: Running,
    pub sidecar: Sidecar,
    pub free: String,
    pub tiny: String,
}

impl Site {
    /// Starts the server of this name, which prints its port, and a sidecar with these tables and
    /// lines of `[upstream]` before it.
    pub async fn open(server: &str, tables: &str, upstream: &str) -> Self {
        let server = Running::of(Language::Python.script(server));
        let port = said_at(&server, 0).await.as_u64().unwrap();
        let address = format!("127.0.0.1:{port}").parse().unwrap();
        let home = Sidecar::with(tables).upstream(upstream).before_address(address).furnish();
        let [free, tiny] = ["free", "tiny"].map(|tier| {
            let made = weir_in(home.path(), &["keys", "new", "--subject", tier, "--tier", tier]);
            made.out.trim().to_owned()
        });
        Self { server, sidecar: home.start().await, free, tiny }
    }

    /// The sidecar's host and port.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.sidecar.address.port())
    }

    /// What this client prints, when it trusts the sidecar.
    pub async fn said(&self, mut client: Command, arguments: &[&str]) -> Vec<Value> {
        client.args(arguments);
        trust(&mut client, &self.sidecar);
        values(client).await
    }
}
