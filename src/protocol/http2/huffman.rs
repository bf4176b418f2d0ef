//! The Huffman code of header strings (RFC 7541 section 5.2 and appendix B).
//!
//! The code is canonical: of one length, codes count up in the order of symbols. So lengths are all there is to keep.

use super::hpack::Refused;

/// How many bits each byte's code has, and last that of the end of string, which no string may hold.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7,
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21,
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24,
    21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

const END: u16 = 256;

/// The longest code, in bits.
const LONGEST: usize = 30;

/// Bits that are looked up at once: all codes of what is common are this long at most.
const NEAR: usize = 8;

static CODE: Code = Code::new();

struct Code {
    /// Of each length its first code, left-aligned, and where in `symbols` those of this length begin.
    first: [u32; LONGEST + 1],
    begin: [u16; LONGEST + 1],
    /// The symbols by the length of their code.
    symbols: [u16; 257],
    /// What the next bits begin with: a symbol and its length, or no length if it is longer.
    near: [(u8, u8); 1 << NEAR],
}

impl Code {
    const fn new() -> Code {
        let mut code = Code {
            first: [0; LONGEST + 1],
            begin: [0; LONGEST + 1],
            symbols: [0; 257],
            near: [(0, 0); 1 << NEAR],
        };
        let (mut next, mut at, mut length) = (0_u32, 0, 1);
        while length <= LONGEST {
            next <<= 1;
            (code.first[length], code.begin[length]) = (next << (32 - length), at as u16);
            let mut symbol = 0;
            while symbol < LENGTHS.len() {
                if LENGTHS[symbol] as usize == length {
                    code.symbols[at] = symbol as u16;
                    let mut rest = 0;
                    while length <= NEAR && rest < 1 << (NEAR - length) {
                        code.near[((next as usize) << (NEAR - length)) + rest] = (symbol as u8, length as u8);
                        rest += 1;
                    }
                    (next, at) = (next + 1, at + 1);
                }
                symbol += 1;
            }
            length += 1;
        }
        code
    }
}

/// What the bytes stand for, written over `into`.
pub fn decode<'i>(bytes: &[u8], into: &'i mut Vec<u8>) -> Result<&'i [u8], Refused> {
    // No code is shorter than five bits.
    into.resize(bytes.len() * 8 / 5, 0);
    let (mut rest, mut written) = (bytes, 0);
    // The next bits, from the highest on, and how many there are: enough for any code, until no more come.
    let (mut bits, mut left) = (0_u64, 0);
    loop {
        while left < 32 {
            if let Some((next, more)) = rest.split_first_chunk() {
                bits |= u64::from(u32::from_be_bytes(*next)) << (32 - left);
                (left, rest) = (left + 32, more);
            } else if let Some((next, more)) = rest.split_first() {
                bits |= u64::from(*next) << (56 - left);
                (left, rest) = (left + 8, more);
            } else {
                break;
            }
        }
        let (symbol, length) = match CODE.near[(bits >> (64 - NEAR)) as usize] {
            (_, 0) => long((bits >> 32) as u32),
            (symbol, length) => (u16::from(symbol), usize::from(length)),
        };
        match into.get_mut(written).filter(|_| length <= left && symbol != END) {
            Some(place) => *place = symbol as u8,
            None => break,
        }
        written += 1;
        bits <<= length;
        left -= length;
    }
    // What is left fills the last byte, with ones.
    let is_filled = left < 8 && bits.leading_ones() as usize >= left;
    into.get(..written).filter(|_| is_filled).ok_or(Refused)
}

/// The symbol that a longer code stands for, and the code's length.
fn long(bits: u32) -> (u16, usize) {
    let length = (NEAR + 1..LONGEST).find(|length| bits < CODE.first[length + 1]).unwrap_or(LONGEST);
    let beyond = (bits - CODE.first[length]) >> (32 - length);
    let at = usize::from(CODE.begin[length]) + beyond as usize;
    (CODE.symbols.get(at).copied().unwrap_or(END), length)
}

#[cfg(test)]
pub fn encode(text: &[u8]) -> Vec<u8> {
    let (mut bytes, mut bits, mut left) = (Vec::new(), 0_u64, 0);
    for symbol in text {
        let length = usize::from(LENGTHS[usize::from(*symbol)]);
        let before = LENGTHS[..usize::from(*symbol)].iter().filter(|other| usize::from(**other) == length);
        let code = u64::from(CODE.first[length] >> (32 - length)) + before.count() as u64;
        (bits, left) = (bits << length | code, left + length);
        while left >= 8 {
            left -= 8;
            bytes.push((bits >> left) as u8);
        }
    }
    if left > 0 {
        bytes.push((bits << (8 - left)) as u8 | 0xff >> left);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8]) -> Result<Vec<u8>, Refused> {
        let mut text = Vec::new();
        decode(bytes, &mut text).map(<[u8]>::to_vec)
    }

    #[test]
    fn examples_of_the_standard() {
        // RFC 7541 appendix C.4 and C.6.
        for (bytes, text) in [
            (&b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"[..], &b"www.example.com"[..]),
            (b"\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf", b"custom-value"),
            (b"\x64\x02", b"302"),
            (b"\xae\xc3\x77\x1a\x4b", b"private"),
            (
                b"\x9d\x29\xad\x17\x18\x63\xc7\x8f\x0b\x97\xc8\xe9\xae\x82\xae\x43\xd3",
                b"https://www.example.com",
            ),
            (b"", b""),
        ] {
            assert_eq!(decoded(bytes).as_deref(), Ok(text));
        }
    }

    #[test]
    fn every_byte_comes_back() {
        for symbol in 0..=255_u8 {
            assert_eq!(decoded(&encode(&[symbol])), Ok(vec![symbol]));
        }
        let all: Vec<u8> = (0..=255).rev().collect();
        assert_eq!(decoded(&encode(&all)), Ok(all));
    }

    #[test]
    fn what_fills_the_last_byte_is_ones_and_no_more_than_that() {
        for wrong in [&b"\x64\x02\xff"[..], b"\x06", b"\xff", b"\xff\xff\xff\xff", b"\x00"] {
            assert_eq!(decoded(wrong), Err(Refused), "{wrong:?}");
        }
    }
}
