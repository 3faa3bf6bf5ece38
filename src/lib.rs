//! Asynchronous request-reply as Tower middleware.

mod record;
