//! How the log lies in its files. Pure, and safe on any bytes: nothing is allocated for a length
//! that the bytes themselves claim.
//!
//! ```text
//! file    = header record*
//! header  = "QuarkLog" format:u32 crc:u32 number:u64 salt:u64, zeros up to 64 bytes
//! record  = salt:u64 sequence:u64 length:u32 crc:u32 payload[length], zeros up to a multiple of 8
//! ```
//!
//! Numbers are little-endian. Files are used again, so what lies behind the last record may be
//! records of an earlier use: they have another salt. It is random, so that no actor can store
//! bytes that look like a record.

/// The version of this layout, and of the writes in its records. A newer one is refused; the first one had no
/// writes that have to do with reminders or journals.
pub(super) const LOG_FORMAT: u32 = 2;
pub(super) const HEADER_BYTES: usize = 64;
/// What stands before a record's payload.
pub(super) const FRAME_BYTES: usize = 24;
/// The longest payload of one record.
pub(super) const RECORD_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// Records start at multiples of this.
const ALIGN: usize = 8;
const MAGIC: [u8; 8] = *b"QuarkLog";

/// Which file of the log it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Files are read in the order of their numbers.
    pub(super) number: u64,
    /// In all records of this use of the file, and in no other.
    pub(super) salt: u64,
}

/// Why a header says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    Newer(u32),
    Damaged,
}

impl Header {
    pub(super) fn encode(self) -> [u8; HEADER_BYTES] {
        self.encode_as(LOG_FORMAT)
    }

    fn encode_as(self, format: u32) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&format.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.salt.to_le_bytes());
        let crc = crc(&[&bytes[..12], &bytes[16..]]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn parse(file: &[u8]) -> Result<Self, Unreadable> {
        let bytes = file.get(..HEADER_BYTES).ok_or(Unreadable::Damaged)?;
        if bytes[..8] != MAGIC {
            return Err(Unreadable::Damaged);
        }
        // Before the checksum, which a newer format may have elsewhere.
        match u32_at(bytes, 8) {
            Some(1..=LOG_FORMAT) => {}
            Some(newer) if newer > LOG_FORMAT => return Err(Unreadable::Newer(newer)),
            _ => return Err(Unreadable::Damaged),
        }
        if u32_at(bytes, 12) != Some(crc(&[&bytes[..12], &bytes[16..]])) {
            return Err(Unreadable::Damaged);
        }
        let (Some(number), Some(salt)) = (u64_at(bytes, 16), u64_at(bytes, 24)) else {
            return Err(Unreadable::Damaged);
        };
        Ok(Self { number, salt })
    }
}

/// One whole record, found at the start of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    /// One more than that of the record before, also over files.
    pub(super) sequence: u64,
    pub(super) payload: &'a [u8],
    /// How far it reaches, frame and padding included.
    pub(super) length: usize,
}

/// Makes a record of a payload that was written behind [`FRAME_BYTES`] of room.
pub(super) fn seal(record: &mut Vec<u8>, salt: u64, sequence: u64) {
    let length = record.len().saturating_sub(FRAME_BYTES);
    debug_assert!(length <= RECORD_BYTES_MAX, "payloads are bounded when they are written");
    record[..8].copy_from_slice(&salt.to_le_bytes());
    record[8..16].copy_from_slice(&sequence.to_le_bytes());
    record[16..20].copy_from_slice(&(length as u32).to_le_bytes());
    let crc = crc(&[&record[..20], &record[FRAME_BYTES..]]);
    record[20..24].copy_from_slice(&crc.to_le_bytes());
    record.resize(record.len().next_multiple_of(ALIGN), 0);
}

/// The record at the start of these bytes, if a whole one of that salt is there.
pub(super) fn record(bytes: &[u8], salt: u64) -> Option<Record<'_>> {
    if u64_at(bytes, 0)? != salt {
        return None;
    }
    let length = u32_at(bytes, 16)? as usize;
    if length > RECORD_BYTES_MAX {
        return None;
    }
    let payload = bytes.get(FRAME_BYTES..FRAME_BYTES + length)?;
    if u32_at(bytes, 20)? != crc(&[bytes.get(..20)?, payload]) {
        return None;
    }
    let length = (FRAME_BYTES + length).next_multiple_of(ALIGN);
    Some(Record { sequence: u64_at(bytes, 8)?, payload, length })
}

/// Whether a whole record of that salt is anywhere behind the start of these bytes.
pub(super) fn holds_another(bytes: &[u8], salt: u64) -> bool {
    let starts = (ALIGN..bytes.len()).step_by(ALIGN);
    starts.into_iter().any(|at| bytes.get(at..).is_some_and(|bytes| record(bytes, salt).is_some()))
}

fn crc(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(payload: &[u8], salt: u64, sequence: u64) -> Vec<u8> {
        let mut record = vec![0; FRAME_BYTES];
        record.extend_from_slice(payload);
        seal(&mut record, salt, sequence);
        record
    }

    #[test]
    fn a_record_comes_back_and_each_changed_byte_is_found() {
        for length in [0, 1, 7, 8, 9, 100] {
            let payload: Vec<u8> = (0..length).collect();
            let whole = sealed(&payload, 5, 6);
            let expect = Record { sequence: 6, payload: &payload, length: whole.len() };
            assert_eq!(record(&whole, 5), Some(expect));
            assert_eq!(record(&whole, 4), None, "of an earlier use");
            for at in 0..FRAME_BYTES + payload.len() {
                let mut scratched = whole.clone();
                scratched[at] ^= 0x10;
                assert_eq!(record(&scratched, 5), None, "byte {at}");
                assert_eq!(record(&whole[..at], 5), None, "cut at {at}");
            }
        }
    }

    #[test]
    fn a_header_comes_back_and_each_changed_byte_is_found() {
        let header = Header { number: 3, salt: 9 };
        assert_eq!(Header::parse(&header.encode()), Ok(header));
        for at in 0..HEADER_BYTES {
            let mut scratched = header.encode();
            scratched[at] ^= 0x10;
            assert!(Header::parse(&scratched).is_err(), "byte {at}");
            assert_eq!(Header::parse(&header.encode()[..at]), Err(Unreadable::Damaged));
        }
        // As versions without reminders wrote it.
        let mut older = header.encode();
        older[8] = 1;
        let sum = crc(&[&older[..12], &older[16..]]);
        older[12..16].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(Header::parse(&older), Ok(header));
        assert_eq!(Header::parse(&header.encode_as(0)), Err(Unreadable::Damaged));
        let mut newer = header.encode();
        newer[8] = 3;
        assert_eq!(Header::parse(&newer), Err(Unreadable::Newer(3)));
    }

    #[test]
    fn hostile_lengths_claim_nothing() {
        for length in [25, 1 << 20, RECORD_BYTES_MAX as u32, RECORD_BYTES_MAX as u32 + 1, u32::MAX] {
            let mut record_bytes = sealed(&[1; 24], 5, 6);
            record_bytes[16..20].copy_from_slice(&length.to_le_bytes());
            assert_eq!(record(&record_bytes, 5), None);
        }
    }

    #[test]
    fn another_record_is_found_wherever_it_is() {
        let mut bytes = sealed(&[1; 50], 5, 6);
        let second = bytes.len();
        bytes.extend(sealed(&[2; 9], 5, 7));
        assert!(holds_another(&bytes, 5) && !holds_another(&bytes, 4));
        assert!(!holds_another(&bytes[second..], 5), "only what is behind the start");
        assert!(!holds_another(&bytes[..bytes.len() - 8], 5), "only whole ones");
        bytes.splice(0..0, [0; 16]);
        assert!(holds_another(&bytes, 5));
        assert!(!holds_another(&[], 5));
    }
}
