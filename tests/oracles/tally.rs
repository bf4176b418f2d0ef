//! How far two programs agree, question by question.

use std::collections::BTreeMap;
use std::fmt;

/// One question's answers.
#[derive(Default)]
pub struct Answers {
    agree: u64,
    explained: BTreeMap<&'static str, u64>,
    differ: u64,
}

/// Every question's answers, and each difference that no class explains.
#[derive(Default)]
pub struct Tally {
    questions: BTreeMap<&'static str, Answers>,
    /// Question, and what differs.
    pub differences: Vec<(&'static str, String)>,
}

impl Tally {
    /// One answer on which both agree.
    pub fn agree(&mut self, question: &'static str) {
        self.questions.entry(question).or_default().agree += 1;
    }

    /// One on which they differ for a reason that was checked.
    pub fn explained(&mut self, question: &'static str, why: &'static str) {
        *self.questions.entry(question).or_default().explained.entry(why).or_default() += 1;
    }

    /// One on which they differ for no reason known here.
    pub fn differ(&mut self, question: &'static str, what: String) {
        self.questions.entry(question).or_default().differ += 1;
        self.differences.push((question, what));
    }

    /// Explains the differences to questions that begin with these words by a kept reason, if they are as
    /// many as it is kept for; says how many there are.
    pub fn explain(&mut self, questions: &str, kept: usize, why: &'static str) -> usize {
        let meant = |question: &str| question.starts_with(questions);
        let found = self.differences.iter().filter(|(question, _)| meant(question)).count();
        if found == kept {
            for (question, _) in self.differences.extract_if(.., |(question, _)| meant(question)) {
                let answers = self.questions.entry(question).or_default();
                answers.differ -= 1;
                *answers.explained.entry(why).or_default() += 1;
            }
        }
        found
    }

    /// Takes over another capture's answers.
    pub fn add(&mut self, other: Tally) {
        for (question, answers) in other.questions {
            let sum = self.questions.entry(question).or_default();
            sum.agree += answers.agree;
            sum.differ += answers.differ;
            for (why, count) in answers.explained {
                *sum.explained.entry(why).or_default() += count;
            }
        }
        self.differences.extend(other.differences);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<32}{:>10}{:>10}{:>10}", "question", "agree", "explained", "differ")?;
        for (question, answers) in &self.questions {
            let explained: u64 = answers.explained.values().sum();
            writeln!(f, "{question:<32}{:>10}{explained:>10}{:>10}", answers.agree, answers.differ)?;
            for (why, count) in &answers.explained {
                writeln!(f, "{count:>52}  {why}")?;
            }
        }
        Ok(())
    }
}
