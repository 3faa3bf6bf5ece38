//! Asynchronous request-reply as Tower middleware.
