//! How what is kept of an operation is written down: the one place that knows.
//!
//! Everything begins with the version of the format. Reading is strict: what is not to the letter what was written is
//! [`Malformed`]. Whoever changes what is written raises [`VERSION`], goes on to read what stands in `tests/formats/`, and
//! adds a file there.
//!
//! A process of an earlier version that shares a store must not meet what it can't read: where files have a version of their
//! own (`user_version`, in that of SQLite), it rises with this one, by a migration that need change nothing else. So the
//! earlier process is told when it opens the file, instead of record by record.

use super::{
    BlobId, Content, Ending, Fingerprint, KeyUse, Outcome, Owner, Queue, Reason, Report, Rerun,
    Revision, Sighting, StoredRequest, StoredResponse, Submission, Timestamp, UniqueKey,
    response::Fields,
};
use bytes::Bytes;
use http::{Method, StatusCode, Uri, Version};
use serde_json::value::RawValue;
use std::{fmt, num::NonZeroU16, sync::Arc, time::Duration};
use uuid::Uuid;

/// The version that is written.
pub(crate) const VERSION: u8 = 1;

/// What was read back is not what any version of this crate up to this one has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(());

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("malformed, or written by a later version")
    }
}

impl std::error::Error for Malformed {}

type Read<T> = Result<T, Malformed>;

const fn malformed<T>() -> Read<T> {
    Err(Malformed(()))
}

macro_rules! encoded {
    ($($kind:ty),*) => {$(
        impl $kind {
            /// Writes it down, for stores that keep bytes.
            #[must_use]
            pub fn encode(&self) -> Vec<u8> {
                let mut writer = Writer(vec![VERSION]);
                self.write(&mut writer);
                writer.0
            }

            /// Reads what this version of the crate, or an earlier one, has written down.
            ///
            /// # Errors
            ///
            /// [`Malformed`] when it is anything else.
            pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
                let mut reader = Reader(bytes);
                if reader.u8()? != VERSION {
                    return malformed();
                }
                let read = Self::read(&mut reader)?;
                reader.end().map(|()| read)
            }
        }
    )*};
}

encoded!(Submission, Ending, Report, Sighting, StoredRequest);

/// Numbers are big-endian; what has a length is led by it.
struct Writer(Vec<u8>);

impl Writer {
    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    fn array(&mut self, value: &[u8]) {
        self.0.extend_from_slice(value);
    }

    fn bytes(&mut self, value: &[u8]) {
        self.u64(value.len() as u64);
        self.array(value);
    }

    fn duration(&mut self, value: Duration) {
        self.u64(value.as_secs());
        self.u32(value.subsec_nanos());
    }

    fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.u8(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Malformed(()))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        self.take(N)?.try_into().or(malformed())
    }

    fn u8(&mut self) -> Read<u8> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Read<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Read<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Read<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn bool(&mut self) -> Read<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => malformed(),
        }
    }

    fn bytes(&mut self) -> Read<&'a [u8]> {
        let len = self.u64()?;
        self.take(usize::try_from(len).or(malformed())?)
    }

    fn text(&mut self) -> Read<&'a str> {
        str::from_utf8(self.bytes()?).or(malformed())
    }

    fn duration(&mut self) -> Read<Duration> {
        let (secs, nanos) = (self.u64()?, self.u32()?);
        if nanos < 1_000_000_000 {
            Ok(Duration::new(secs, nanos))
        } else {
            malformed()
        }
    }

    fn timestamp(&mut self) -> Read<Timestamp> {
        let micros = self.u64()?;
        let time = Timestamp::from_micros(micros);
        if time.as_micros() == micros {
            Ok(time)
        } else {
            malformed()
        }
    }

    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<Option<T>> {
        self.bool()?.then(|| read(self)).transpose()
    }

    fn end(&self) -> Read<()> {
        if self.0.is_empty() {
            Ok(())
        } else {
            malformed()
        }
    }
}

impl Submission {
    fn write(&self, to: &mut Writer) {
        let Self {
            method,
            target,
            face,
            owner,
            key,
            note,
            keep_for,
            rerun,
        } = self;
        to.bytes(method.as_str().as_bytes());
        to.bytes(target.as_bytes());
        to.bytes(face.as_bytes());
        to.option(owner.as_ref(), |to, owner| to.array(owner.as_hash()));
        to.option(key.as_ref(), |to, used| {
            to.array(used.key.as_hash());
            to.option(used.fingerprint.as_ref(), |to, fingerprint| {
                to.array(fingerprint.as_hash());
            });
        });
        to.option(note.as_ref(), |to, note| to.bytes(note.as_bytes()));
        to.duration(*keep_for);
        to.option(rerun.as_ref(), |to, rerun| {
            to.bytes(rerun.queue.name().as_bytes());
            to.u16(rerun.attempts.get());
            to.duration(rerun.start_within);
            to.duration(rerun.run_time);
            to.u64(rerun.response_body);
        });
    }

    fn read(from: &mut Reader<'_>) -> Read<Self> {
        Ok(Self {
            method: Method::from_bytes(from.bytes()?).or(malformed())?,
            target: from.text()?.into(),
            face: from.text()?.into(),
            owner: from.option(|from| from.array().map(Owner::from_hash))?,
            key: from.option(|from| {
                let key = UniqueKey::from_hash(from.array()?);
                let fingerprint = from.option(|from| from.array().map(Fingerprint::from_hash))?;
                Ok(Box::new(KeyUse { key, fingerprint }))
            })?,
            note: from.option(|from| from.text().map(Into::into))?,
            keep_for: from.duration()?,
            rerun: from.option(|from| {
                Ok(Box::new(Rerun {
                    queue: Queue::new(from.text()?.to_owned()),
                    attempts: NonZeroU16::new(from.u16()?).ok_or(Malformed(()))?,
                    start_within: from.duration()?,
                    run_time: from.duration()?,
                    response_body: from.u64()?,
                }))
            })?,
        })
    }
}

/// A number for every outcome, for good.
const OUTCOMES: [(u8, Outcome); 10] = [
    (0, Outcome::Succeeded),
    (1, Outcome::Cancelled),
    (2, Outcome::Failed(Reason::Response)),
    (3, Outcome::Failed(Reason::Panicked)),
    (4, Outcome::Failed(Reason::Errored)),
    (5, Outcome::Failed(Reason::TimedOut)),
    (6, Outcome::Failed(Reason::TooLarge)),
    (7, Outcome::Failed(Reason::NotStarted)),
    (8, Outcome::Failed(Reason::Interrupted)),
    (9, Outcome::Failed(Reason::Lost)),
];

impl Ending {
    fn write(&self, to: &mut Writer) {
        let Self {
            outcome,
            at,
            response,
            answered,
        } = self;
        let number = OUTCOMES.iter().find(|(_, known)| known == outcome);
        to.u8(number.expect("every outcome has a number").0);
        to.u64(at.as_micros());
        to.u8(u8::from(*answered));
        to.option(response.as_ref(), |to, response| response.write(to));
    }

    fn read(from: &mut Reader<'_>) -> Read<Self> {
        let number = from.u8()?;
        let known = OUTCOMES.iter().find(|(known, _)| *known == number);
        let (_, outcome) = *known.ok_or(Malformed(()))?;
        let ending = Self {
            outcome,
            at: from.timestamp()?,
            answered: from.bool()?,
            response: from.option(StoredResponse::read)?,
        };
        let has_response = matches!(
            outcome,
            Outcome::Succeeded | Outcome::Failed(Reason::Response)
        );
        if has_response == ending.response.is_some() {
            Ok(ending)
        } else {
            malformed()
        }
    }
}

impl StoredResponse {
    fn write(&self, to: &mut Writer) {
        let Self {
            status,
            is_blob,
            fields_end,
            body_end,
            bytes,
        } = self;
        to.u16(status.as_u16());
        to.u8(u8::from(*is_blob));
        to.u32(*fields_end);
        to.u64(*body_end as u64);
        to.bytes(bytes);
    }

    fn read(from: &mut Reader<'_>) -> Read<Self> {
        const BLOB: usize = 24;
        let status = StatusCode::from_u16(from.u16()?).or(malformed())?;
        let (is_blob, fields_end) = (from.bool()?, from.u32()?);
        let body_end = usize::try_from(from.u64()?).or(malformed())?;
        let bytes = Bytes::copy_from_slice(from.bytes()?);
        let start = fields_end as usize;
        let body = body_end.checked_sub(start).ok_or(Malformed(()))?;
        if body_end > bytes.len() || is_blob && body != BLOB {
            return malformed();
        }
        check(&bytes, 0, start)?;
        check(&bytes, body_end, bytes.len())?;
        Ok(Self {
            status,
            is_blob,
            fields_end,
            body_end,
            bytes,
        })
    }
}

/// Whether the bytes from `start` to `end` are fields to the last.
fn check(bytes: &Bytes, start: usize, end: usize) -> Read<()> {
    let mut fields = Fields::within(bytes, start, end);
    let told = fields.clone().count();
    let read = fields.by_ref().map_while(Some).count();
    if told == read && fields.is_at_end() {
        Ok(())
    } else {
        malformed()
    }
}

impl Report {
    fn write(&self, to: &mut Writer) {
        let Self {
            fraction,
            message,
            metadata,
            resource,
            retry_after,
        } = self;
        to.option(*fraction, |to, fraction| to.u32(fraction.to_bits()));
        to.option(message.as_ref(), |to, text| to.bytes(text.as_bytes()));
        to.option(metadata.as_ref(), |to, json| {
            to.bytes(json.get().as_bytes());
        });
        to.option(resource.as_ref(), |to, text| to.bytes(text.as_bytes()));
        to.option(*retry_after, Writer::duration);
    }

    fn read(from: &mut Reader<'_>) -> Read<Self> {
        let text = |from: &mut Reader<'_>| from.text().map(Arc::from);
        Ok(Self {
            fraction: from.option(|from| match f32::from_bits(from.u32()?) {
                fraction if (0.0..=1.0).contains(&fraction) => Ok(fraction),
                _ => malformed(),
            })?,
            message: from.option(text)?,
            metadata: from.option(|from| {
                let json = RawValue::from_string(from.text()?.to_owned());
                json.map(Arc::from).or(malformed())
            })?,
            resource: from.option(text)?,
            retry_after: from.option(Reader::duration)?,
        })
    }
}

impl Sighting {
    fn write(&self, to: &mut Writer) {
        let Self {
            revision,
            at,
            started,
            report,
        } = self;
        to.u64(revision.0);
        to.u64(at.as_micros());
        to.option(*started, |to, started| to.u64(started.as_micros()));
        to.option(report.as_ref(), |to, report| report.write(to));
    }

    fn read(from: &mut Reader<'_>) -> Read<Self> {
        Ok(Self {
            revision: Revision(from.u64()?),
            at: from.timestamp()?,
            started: from.option(Reader::timestamp)?,
            report: from.option(|from| Report::read(from).map(Arc::new))?,
        })
    }
}

const VERSIONS: [(u8, Version); 5] = [
    (9, Version::HTTP_09),
    (10, Version::HTTP_10),
    (11, Version::HTTP_11),
    (20, Version::HTTP_2),
    (30, Version::HTTP_3),
];

impl StoredRequest {
    fn write(&self, to: &mut Writer) {
        let Self {
            version,
            uri_end,
            original_end,
            fields_end,
            head,
            body,
        } = self;
        let number = VERSIONS.iter().find(|(_, known)| known == version);
        to.u8(number.expect("every version has a number").0);
        to.u32(*uri_end);
        to.u32(*original_end);
        to.u32(*fields_end);
        to.bytes(head);
        match body {
            Content::Inline(bytes) => {
                to.u8(0);
                to.bytes(bytes);
            }
            Content::Blob { id, len } => {
                to.u8(1);
                to.array(id.as_uuid().as_bytes());
                to.u64(*len);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Read<Self> {
        let number = from.u8()?;
        let known = VERSIONS.iter().find(|(known, _)| *known == number);
        let (_, version) = *known.ok_or(Malformed(()))?;
        let (uri_end, original_end, fields_end) = (from.u32()?, from.u32()?, from.u32()?);
        let head = Bytes::copy_from_slice(from.bytes()?);
        let [uri, original, fields] = [uri_end, original_end, fields_end].map(|end| end as usize);
        if uri > original || original > fields || fields > head.len() {
            return malformed();
        }
        for text in [0..uri, uri..original] {
            Uri::from_maybe_shared(head.slice(text)).or(malformed())?;
        }
        check(&head, original, fields)?;
        check(&head, fields, head.len())?;
        let body = match from.u8()? {
            0 => Content::Inline(Bytes::copy_from_slice(from.bytes()?)),
            1 => Content::Blob {
                id: BlobId::from_uuid(Uuid::from_bytes(from.array()?)),
                len: from.u64()?,
            },
            _ => return malformed(),
        };
        Ok(Self {
            version,
            uri_end,
            original_end,
            fields_end,
            head,
            body,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Capture, Stop};
    use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
    use proptest::prelude::*;

    fn blob() -> BlobId {
        BlobId::from_uuid(Uuid::from_bytes([0xb; 16]))
    }

    fn trailers() -> HeaderMap {
        let trailer = (
            HeaderName::from_static("x-sum"),
            HeaderValue::from_static("9"),
        );
        HeaderMap::from_iter([trailer])
    }

    fn submission() -> Submission {
        let keep_for = Duration::new(60, 500);
        let mut full = Submission::new(
            Method::PUT,
            "/reports?x=1".into(),
            "/operations".into(),
            keep_for,
        );
        full.owner = Some(Owner::from_hash([1; 32]));
        full.key = Some(Box::new(KeyUse {
            key: UniqueKey::from_hash([2; 32]),
            fingerprint: Some(Fingerprint::from_hash([3; 32])),
        }));
        full.rerun = Some(Box::new(Rerun {
            queue: "large".into(),
            attempts: NonZeroU16::new(3).unwrap(),
            start_within: Duration::from_secs(600),
            run_time: Duration::from_secs(3600),
            response_body: 16 << 20,
        }));
        full
    }

    fn at() -> Timestamp {
        Timestamp::from_micros(1_795_229_760_125_000)
    }

    fn response(in_blob: bool) -> StoredResponse {
        let mut secret = HeaderValue::from_static("s");
        secret.set_sensitive(true);
        let head = Response::builder().status(201).header("x-secret", secret);
        let head = head.header("content-type", "text/plain").body(()).unwrap();
        let mut capture = Capture::begin(&head.into_parts().0, "/reports", 9, 1 << 20).unwrap();
        capture.data(b"some text").unwrap();
        if in_blob {
            capture.spill(blob());
        }
        capture.trailers(&trailers()).unwrap();
        capture.end()
    }

    fn report() -> Report {
        Report {
            fraction: Some(0.5),
            message: Some("halfway".into()),
            metadata: Some(
                RawValue::from_string(r#"{"pages":2}"#.into())
                    .unwrap()
                    .into(),
            ),
            resource: Some("/reports/7".into()),
            retry_after: Some(Duration::from_secs(5)),
        }
    }

    fn sighting(report: Option<Report>) -> Sighting {
        Sighting {
            revision: Revision(7),
            at: at(),
            started: report.is_some().then(at),
            report: report.map(Arc::new),
        }
    }

    fn request(body: Content, trailers: Option<&HeaderMap>) -> StoredRequest {
        let request = Request::put("/reports?x=1").version(Version::HTTP_2);
        let request = request
            .header("content-type", "text/plain")
            .header("authorization", "secret")
            .header("connection", "close")
            .body(());
        let original = Uri::from_static("https://example.com/api/reports?x=1");
        let without = [http::header::AUTHORIZATION];
        let head = request.unwrap().into_parts().0;
        StoredRequest::capture(&head, &original, body, trailers, &without)
    }

    /// Some of everything, by name.
    fn samples() -> Vec<(String, Vec<u8>)> {
        let plain = Submission::new(
            Method::POST,
            "/".into(),
            "/operations".into(),
            Duration::ZERO,
        );
        let inline = Content::Inline("some data".into());
        let elsewhere = Content::Blob {
            id: blob(),
            len: 1 << 33,
        };
        let mut answered = Ending::with_response(response(false), true, at());
        answered.answered = true;
        let mut samples = vec![
            ("submission".into(), plain.encode()),
            ("submission full".into(), submission().encode()),
            ("report".into(), Report::default().encode()),
            ("report full".into(), report().encode()),
            ("sighting".into(), sighting(None).encode()),
            ("sighting full".into(), sighting(Some(report())).encode()),
            ("request".into(), request(inline, None).encode()),
            (
                "request full".into(),
                request(elsewhere, Some(&trailers())).encode(),
            ),
            (
                "ending inline".into(),
                Ending::with_response(response(false), false, at()).encode(),
            ),
            (
                "ending blob".into(),
                Ending::with_response(response(true), false, at()).encode(),
            ),
            ("ending answered".into(), answered.encode()),
        ];
        for stop in [
            Stop::Cancelled,
            Stop::Panicked,
            Stop::Errored,
            Stop::TimedOut,
            Stop::TooLarge,
            Stop::NotStarted,
            Stop::Interrupted,
            Stop::Lost,
        ] {
            let ending = Ending::without_response(stop, at());
            samples.push((format!("ending {stop:?}"), ending.encode()));
        }
        samples
    }

    /// Reads, and writes anew.
    fn again(name: &str, bytes: &[u8]) -> Read<Vec<u8>> {
        Ok(match name.split(' ').next().unwrap() {
            "submission" => Submission::decode(bytes)?.encode(),
            "report" => Report::decode(bytes)?.encode(),
            "sighting" => Sighting::decode(bytes)?.encode(),
            "request" => StoredRequest::decode(bytes)?.encode(),
            "ending" => Ending::decode(bytes)?.encode(),
            other => panic!("{other}"),
        })
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn unhex(text: &str) -> Vec<u8> {
        let digits: Vec<_> = text.chars().map(|c| c.to_digit(16).unwrap()).collect();
        let pairs = digits.chunks(2);
        pairs
            .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap())
            .collect()
    }

    /// What version 1 has written: never to be changed. `(name, bytes)`
    fn written_by_version_1() -> Vec<(String, Vec<u8>)> {
        let file = include_str!("../../tests/formats/version-1.txt");
        let lines = file.lines().filter(|line| !line.starts_with('#'));
        let lines = lines.filter_map(|line| line.split_once(": "));
        lines
            .map(|(name, hex)| (name.to_owned(), unhex(hex)))
            .collect()
    }

    #[test]
    fn what_is_written_now_is_what_the_file_of_this_version_holds() {
        let mut now = samples();
        let mut then = written_by_version_1();
        now.sort();
        then.sort();
        let show = |samples: Vec<(String, Vec<u8>)>| -> Vec<_> {
            let line = |(name, bytes): (String, Vec<u8>)| format!("{name}: {}", hex(&bytes));
            samples.into_iter().map(line).collect()
        };
        assert_eq!(show(now), show(then));
    }

    #[test]
    fn what_earlier_versions_have_written_is_read() {
        let written = written_by_version_1();
        assert_eq!(written.len(), samples().len());
        for (name, bytes) in written {
            assert_eq!(
                again(&name, &bytes).map(|again| hex(&again)),
                Ok(hex(&bytes)),
                "{name}"
            );
        }
    }

    #[test]
    fn everything_comes_back() {
        let read = Submission::decode(&submission().encode()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", submission()));
        assert_eq!(read.owner, submission().owner);
        assert_eq!(read.rerun, submission().rerun);

        let read = Report::decode(&report().encode()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", report()));

        let seen = sighting(Some(report()));
        let read = Sighting::decode(&seen.encode()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{seen:?}"));

        let ending = Ending::with_response(response(true), false, at());
        let read = Ending::decode(&ending.encode()).unwrap();
        let response = read.response.unwrap();
        assert_eq!((response.status(), read.at), (StatusCode::CREATED, at()));
        assert_eq!(response.body(), Content::Blob { id: blob(), len: 9 });
        let (_, secret) = response.fields().next().unwrap();
        assert!(secret.is_sensitive());
        assert_eq!(response.trailers().count(), 1);

        let read = request(Content::Inline("some data".into()), Some(&trailers())).encode();
        let read = StoredRequest::decode(&read).unwrap();
        assert_eq!(read.version(), Version::HTTP_2);
        assert_eq!(read.uri(), "/reports?x=1");
        assert_eq!(read.original(), "https://example.com/api/reports?x=1");
        let names: Vec<_> = read.fields().map(|(name, _)| name.to_string()).collect();
        assert_eq!(names, ["content-type"]);
        assert_eq!(*read.body(), Content::Inline("some data".into()));
        assert_eq!(read.trailers().count(), 1);
    }

    #[test]
    fn names_that_only_http_2_has_come_back() {
        let quoted = HeaderName::from_lowercase(b"x-\"quoted\"").unwrap();
        let mut head = Request::new(()).into_parts().0;
        head.headers
            .insert(quoted.clone(), HeaderValue::from_static("1"));
        head.headers
            .insert("x-after", HeaderValue::from_static("2"));
        let body = Content::Inline(Bytes::new());
        let request = StoredRequest::capture(&head, &head.uri, body, Some(&head.headers), &[]);
        let read = StoredRequest::decode(&request.encode()).unwrap();
        for fields in [read.fields(), read.trailers()] {
            let names: Vec<_> = fields.map(|(name, _)| name.to_string()).collect();
            assert_eq!(names, [quoted.as_str(), "x-after"]);
        }
    }

    #[test]
    fn a_request_of_the_longest_uri_comes_back() {
        const LONGEST: usize = u16::MAX as usize - 1;
        let query = "x".repeat(LONGEST - "http://h?".len());
        let mut head = Request::new(()).into_parts().0;
        head.uri = format!("http://h?{query}").parse().unwrap();
        let body = Content::Inline(Bytes::new());
        let request = StoredRequest::capture(&head, &head.uri, body, None, &[]);
        for read in [StoredRequest::decode(&request.encode()).unwrap(), request] {
            for uri in [read.uri(), read.original()] {
                assert_eq!((uri.path(), uri.query()), ("/", Some(&*query)));
            }
        }
    }

    #[test]
    fn every_reason_has_a_number() {
        // Written out, so that a new reason stops here.
        let number = |reason| match reason {
            Reason::Response => 2,
            Reason::Panicked => 3,
            Reason::Errored => 4,
            Reason::TimedOut => 5,
            Reason::TooLarge => 6,
            Reason::NotStarted => 7,
            Reason::Interrupted => 8,
            Reason::Lost => 9,
        };
        for (known, outcome) in OUTCOMES {
            if let Outcome::Failed(reason) = outcome {
                assert_eq!(number(reason), known);
            }
        }
    }

    #[test]
    fn what_is_cut_off_or_goes_on_is_malformed() {
        for (name, bytes) in samples() {
            for len in 0..bytes.len() {
                assert_eq!(again(&name, &bytes[..len]), malformed(), "{name} {len}");
            }
            let longer = [&bytes[..], b"x"].concat();
            assert_eq!(again(&name, &longer), malformed(), "{name}");
        }
    }

    #[test]
    fn what_a_later_version_has_written_is_malformed() {
        for (name, mut bytes) in samples() {
            bytes[0] = VERSION + 1;
            assert_eq!(again(&name, &bytes), malformed(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn what_was_damaged_is_malformed_or_reads_as_it_is_written(
            sample in 0..usize::MAX, at in 0..usize::MAX, byte: u8
        ) {
            let samples = samples();
            let (name, mut bytes) = samples[sample % samples.len()].clone();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(again) = again(&name, &bytes) {
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
