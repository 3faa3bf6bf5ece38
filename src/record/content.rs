use bytes::Bytes;
use std::fmt;
use uuid::Uuid;

/// Where a body is.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// Here.
    Inline(Bytes),
    /// Among the [blobs](crate::store::Blobs) of the store.
    Blob {
        /// Which of them.
        id: BlobId,
        /// Its length in bytes.
        len: u64,
    },
}

/// Shows how much it is, not what.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(bytes) => write!(f, "Inline({} bytes)", bytes.len()),
            Self::Blob { id, len } => write!(f, "Blob({id:?}, {len} bytes)"),
        }
    }
}

impl Content {
    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Blob { len, .. } => *len,
        }
    }

    /// Whether there is not a byte in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The blob, if it is one.
    #[must_use]
    pub fn blob(&self) -> Option<BlobId> {
        match self {
            Self::Inline(_) => None,
            Self::Blob { id, .. } => Some(*id),
        }
    }
}

/// Names one [blob](crate::store::Blobs). Drawn anew for each body and each attempt to write one, so that two who write
/// never write to the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobId(Uuid);

impl BlobId {
    /// Draws a new id.
    ///
    /// # Panics
    ///
    /// If the operating system has no random bytes to give.
    #[must_use]
    pub fn random() -> Self {
        Self(*super::OperationId::random().as_uuid())
    }

    /// Takes an id that a store reads back.
    #[must_use]
    pub const fn from_uuid(id: Uuid) -> Self {
        Self(id)
    }

    /// The id as a UUID.
    #[must_use]
    pub const fn as_uuid(&self) -> &Uuid {
        &self.0
    }
}

/// Not whole, as ids of operations are not: who knows it may read a result.
impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.hyphenated().to_string();
        write!(f, "BlobId({}..)", &text[..8])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_a_body_nor_the_whole_name_of_a_blob_is_shown() {
        let id = BlobId::random();
        let text = id.as_uuid().hyphenated().to_string();
        let shown = format!("{:?}", Content::Blob { id, len: 9 });
        assert_eq!(shown, format!("Blob(BlobId({}..), 9 bytes)", &text[..8]));
        let inline = Content::Inline("some text".into());
        assert_eq!(format!("{inline:?}"), "Inline(9 bytes)");
    }
}
