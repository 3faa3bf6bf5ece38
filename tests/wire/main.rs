//! `docs/wire.md` over real sockets: raw HTTP/1.0, HTTP/1.1 (kept alive, closed, pipelined) and HTTP/2, against a bare
//! hyper server (`wrap`) and axum (`nest_service` under a nested router, `route_service`).
#![cfg(all(feature = "axum", feature = "hyper", feature = "testing"))]

mod gone;
mod http1;
mod http2;
mod refusals;
mod replays;
mod reply;
mod servers;
mod versions;
