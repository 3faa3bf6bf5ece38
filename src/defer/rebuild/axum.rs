use axum::body::Body;

use super::{Buffered, Rebuild, Rebuilt, with_trailers::WithTrailers};

#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl Rebuild for Body {
    fn rebuild(from: Buffered) -> Rebuilt<Self> {
        Rebuilt::ready(if from.trailers().is_some() {
            Body::new(WithTrailers::from(from))
        } else if from.bytes().is_empty() {
            // The only one whose box allocates nothing.
            Body::empty()
        } else {
            Body::from(from.into_parts().0)
        })
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
