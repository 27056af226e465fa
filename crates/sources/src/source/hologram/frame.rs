//! The frame around a message of Hologram: 16 bytes, little-endian, of length, CRC-32 and zeros.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

use super::HologramError;

const HEADER: usize = 16;
/// The longest message that is read. One of credentials has less than 4 KiB; the server allows 1 MiB.
pub(super) const MAX_BODY: usize = 64 * 1024;

/// A message in its frame.
pub(super) fn encode(body: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut frame = Zeroizing::new(Vec::with_capacity(HEADER + body.len()));
    // What is sent has less than MAX_BODY.
    frame.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    frame.extend(crc32(body).to_le_bytes());
    frame.extend([0; 8]);
    frame.extend_from_slice(body);
    frame
}

/// Sends a message.
pub(super) async fn write(stream: &mut (impl AsyncWrite + Unpin), body: &[u8]) -> Result<(), HologramError> {
    stream.write_all(&encode(body)).await?;
    Ok(stream.flush().await?)
}

/// Reads a message, which is held in memory only once its length is known to be allowed.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Zeroizing<Vec<u8>>, HologramError> {
    let (length, crc) = (stream.read_u32_le().await?, stream.read_u32_le().await?);
    let _zeros = stream.read_u64_le().await?;
    let length = usize::try_from(length).ok().filter(|length| *length <= MAX_BODY);
    let mut body = Zeroizing::new(vec![0; length.ok_or(HologramError::Garbage("its message is too long"))?]);
    stream.read_exact(&mut body).await?;
    if crc32(&body) == crc { Ok(body) } else { Err(HologramError::Garbage("the checksum of its message is wrong")) }
}

/// CRC-32 of IEEE 802.3, for the few bytes that there are.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}
