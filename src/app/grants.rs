//! What the system grants, looked at once at the start and said plainly.

use std::sync::Arc;

use crate::{
    policy::compile::ListenSettings,
    resources,
    server::{Drain, Overload},
};

/// Descriptors for everything but connections: the store, log, event queues, probes, operators.
const OTHERS: u64 = 192;
/// A request that is forwarded holds a connection on either side.
const PER_CONNECTION: u64 = 2;

/// How many connections there may be, of those that the policy allows: as many as there are
/// descriptors for. Raises the soft limit to the hard one before it counts.
pub(super) fn connections(wanted: usize) -> usize {
    let (granted, _) = resources::raise_descriptors();
    let needed = (wanted as u64).saturating_mul(PER_CONNECTION).saturating_add(OTHERS);
    let room = (granted.saturating_sub(OTHERS) / PER_CONNECTION).max(1);
    if granted >= needed {
        tracing::info!(descriptors = granted, max_connections = wanted, "descriptors suffice");
        return wanted;
    }
    tracing::warn!(
        descriptors = granted,
        needed,
        max_connections = room,
        wanted,
        "too few file descriptors for listen.max_connections, so fewer are taken: raise \
         LimitNOFILE= of the service, `ulimit -Hn` or the container's nofile limit"
    );
    usize::try_from(room).unwrap_or(wanted)
}

/// What gives way when memory runs out: at the policy's limit, or else the cgroup's.
pub(super) fn overload(listen: &ListenSettings, drain: &Drain) -> Arc<Overload> {
    let of_cgroup = resources::memory_limit();
    let limit = listen.max_memory.or(of_cgroup);
    if let (Some(wanted), Some(granted)) = (listen.max_memory, of_cgroup)
        && wanted > granted
    {
        tracing::warn!(
            max_memory_bytes = wanted,
            cgroup_bytes = granted,
            "listen.max_memory is above the limit of the cgroup: the kernel will be first"
        );
    }
    match limit {
        Some(limit_bytes) => {
            let from = if listen.max_memory.is_some() { "listen.max_memory" } else { "cgroup" };
            tracing::info!(limit_bytes, from, "work is cut down when memory nears its limit");
        }
        None => tracing::info!(
            "memory has no limit: set one for the container, or listen.max_memory in the policy"
        ),
    }
    Overload::new(limit, drain.clone())
}
