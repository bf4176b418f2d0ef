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

const CODE: Code = Code::new();

struct Code {
    /// The symbols by the length of their code.
    symbols: [u16; 257],
    /// Of each length its first code, how many there are, and where in `symbols` they begin.
    first: [u32; LONGEST + 1],
    count: [u32; LONGEST + 1],
    begin: [u16; LONGEST + 1],
    /// What the next bits begin with: a symbol and its length, or nothing of this length.
    near: [(u8, u8); 1 << NEAR],
}

impl Code {
    const fn new() -> Code {
        let mut code = Code {
            symbols: [0; 257],
            first: [0; LONGEST + 1],
            count: [0; LONGEST + 1],
            begin: [0; LONGEST + 1],
            near: [(0, 0); 1 << NEAR],
        };
        let (mut next, mut at, mut length) = (0_u32, 0, 1);
        while length <= LONGEST {
            next <<= 1;
            (code.first[length], code.begin[length]) = (next, at as u16);
            let mut symbol = 0;
            while symbol < LENGTHS.len() {
                if LENGTHS[symbol] as usize == length {
                    code.symbols[at] = symbol as u16;
                    if length <= NEAR {
                        let mut rest = 0;
                        while rest < 1 << (NEAR - length) {
                            code.near[((next as usize) << (NEAR - length)) + rest] =
                                (symbol as u8, length as u8);
                            rest += 1;
                        }
                    }
                    (next, at) = (next + 1, at + 1);
                    code.count[length] += 1;
                }
                symbol += 1;
            }
            length += 1;
        }
        code
    }
}

/// Appends what the bytes stand for.
pub fn decode(bytes: &[u8], into: &mut Vec<u8>) -> Result<(), Refused> {
    static TABLES: Code = CODE;
    // The next bits, from the highest on, and how many there are.
    let (mut bits, mut left) = (0_u64, 0);
    let mut bytes = bytes.iter();
    loop {
        while left <= 56 {
            let Some(byte) = bytes.next() else { break };
            bits |= u64::from(*byte) << (56 - left);
            left += 8;
        }
        let near = TABLES.near.get((bits >> (64 - NEAR)) as usize);
        let found = match near {
            Some((symbol, length)) if *length > 0 => Some((u16::from(*symbol), usize::from(*length))),
            _ => long(&TABLES, bits),
        };
        match found {
            Some((symbol, length)) if length <= left && symbol != END => {
                into.push(symbol as u8);
                bits <<= length;
                left -= length;
            }
            // What is left fills the last byte, with ones.
            _ if left < 8 && bits.leading_ones() as usize >= left => return Ok(()),
            _ => return Err(Refused),
        }
    }
}

/// The symbol that a longer code stands for, and the code's length.
fn long(code: &Code, bits: u64) -> Option<(u16, usize)> {
    (NEAR + 1..=LONGEST).find_map(|length| {
        let beyond = ((bits >> (64 - length)) as u32).wrapping_sub(code.first[length]);
        let at = usize::from(code.begin[length]) + beyond as usize;
        (beyond < code.count[length]).then(|| code.symbols.get(at).map(|symbol| (*symbol, length)))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8]) -> Result<Vec<u8>, Refused> {
        let mut text = Vec::new();
        decode(bytes, &mut text).map(|()| text)
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
        let mut next = [0_u32; LONGEST + 1];
        for symbol in 0..=255_u8 {
            let length = usize::from(LENGTHS[usize::from(symbol)]);
            let code = u64::from(CODE.first[length] + next[length]);
            next[length] += 1;
            // The code, and ones behind it.
            let bits = (code << (64 - length)) | (u64::MAX >> length);
            assert_eq!(decoded(&bits.to_be_bytes()[..length.div_ceil(8)]), Ok(vec![symbol]));
        }
    }

    #[test]
    fn what_fills_the_last_byte_is_ones_and_no_more_than_that() {
        for wrong in [&b"\x64\x02\xff"[..], b"\x06", b"\xff", b"\xff\xff\xff\xff", b"\x00"] {
            assert_eq!(decoded(wrong), Err(Refused), "{wrong:?}");
        }
    }
}
