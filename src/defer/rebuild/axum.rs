use axum::body::Body;

use super::{Buffered, Rebuild, Rebuilt, with_trailers::WithTrailers};

#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl Rebuild for Body {
    fn rebuild(from: Buffered) -> Rebuilt<Self> {
        Rebuilt::ready(Body::new(WithTrailers::from(from)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::defer::rebuild::tests::keeps_everything;

    #[tokio::test]
    async fn axum_body_keeps_everything() {
        keeps_everything::<Body>().await;
    }
}
