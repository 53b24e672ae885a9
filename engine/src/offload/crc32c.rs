//! The checksum of SCTP, which is no Internet checksum but a CRC-32C (RFC 9260, section 6.8 and appendix A).

use super::Unfit;
use crate::wire::transport::{SCTP_CHECKSUM, Transport};

/// What each byte does to the remainder.
const TABLE: [u32; 256] = table();

/// Completes the checksum of an SCTP packet.
///
/// # Errors
/// [`Unfit`] when the packet does not lie in the frame, which is then unchanged.
pub fn complete_sctp(frame: &mut [u8], transport: &Transport) -> Result<(), Unfit> {
    let end = transport.packet_end(frame).ok_or(Unfit)?;
    let packet = frame.get_mut(transport.start..end).ok_or(Unfit)?;
    let field = SCTP_CHECKSUM..SCTP_CHECKSUM + 4;
    packet.get_mut(field.clone()).ok_or(Unfit)?.fill(0);
    let checksum = crc32c(packet);
    packet[field].copy_from_slice(&checksum.to_le_bytes());
    Ok(())
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)])
}

const fn table() -> [u32; 256] {
    /// Castagnoli's, lowest bit first.
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        let (mut crc, mut bit) = (byte as u32, 0);
        while bit < 8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720, appendix B.4, and the check value of every catalogue of CRCs.
    #[test]
    fn the_known_values_come_out() {
        let ascending: Vec<u8> = (0..32).collect();
        let cases: [(&[u8], u32); 5] = [
            (&[0; 32], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
            (&ascending, 0x46dd_794e),
            (b"123456789", 0xe306_9283),
            (b"", 0),
        ];
        cases.into_iter().for_each(|(bytes, expected)| assert_eq!(crc32c(bytes), expected, "{bytes:02x?}"));
    }
}
