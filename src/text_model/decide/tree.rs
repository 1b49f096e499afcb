//! [`Tree`]: the labels of a question by the tokens that they begin with.

use crate::tensor::TokenId;

/// Labels as ids. Every beginning that labels continue is a node, whose next tokens are read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tree {
    labels: Vec<Vec<TokenId>>,
    /// Ids that all labels begin with.
    common: usize,
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq)]
struct Node {
    /// The beginning.
    ids: Vec<TokenId>,
    /// The tokens that follow it in some label, ascending.
    next: Vec<TokenId>,
}

impl Tree {
    /// # Panics
    /// If there is no label.
    pub(super) fn new(labels: Vec<Vec<TokenId>>) -> Self {
        let shared = |a: &[TokenId], b: &[TokenId]| a.iter().zip(b).take_while(|(a, b)| a == b).count();
        let common = labels.iter().map(|label| shared(&labels[0], label)).min().expect("there are labels");
        let mut nodes: Vec<Node> = Vec::new();
        let longest = labels.iter().map(Vec::len).max().unwrap_or(0);
        for len in common..longest {
            let first = nodes.len();
            for label in labels.iter().filter(|label| label.len() > len) {
                let own = nodes[first..].iter().position(|node| node.ids == label[..len]);
                let at = own.map_or(nodes.len(), |own| first + own);
                if at == nodes.len() {
                    nodes.push(Node { ids: label[..len].to_vec(), next: Vec::new() });
                }
                if let Err(place) = nodes[at].next.binary_search(&label[len]) {
                    nodes[at].next.insert(place, label[len]);
                }
            }
        }
        Self { labels, common, nodes }
    }

    /// The beginnings, and the tokens after them whose probabilities are needed.
    pub(super) fn places(&self) -> impl Iterator<Item = (&[TokenId], &[TokenId])> {
        self.nodes.iter().map(|node| (&*node.ids, &*node.next))
    }

    /// Tokens of the longest label, the words before it included.
    pub(super) fn longest(&self) -> usize {
        self.labels.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// Tokens of the longest label after the beginning that all share.
    pub(super) fn depth(&self) -> usize {
        self.longest() - self.common
    }

    /// The logarithms of the probabilities of the labels, given those of the tokens of [`Self::places`].
    pub(super) fn labels(&self, logs: &[Vec<f64>]) -> Vec<f64> {
        let node = |ids: &[TokenId]| self.nodes.iter().position(|node| node.ids == ids);
        let token = |at: usize, id: TokenId| {
            let place = self.nodes[at].next.binary_search(&id).expect("a token that continues a label");
            logs[at][place]
        };
        let label = |label: &Vec<TokenId>| {
            let steps = (self.common..label.len()).map(|len| {
                let at = node(&label[..len]).expect("a label continues each of its beginnings");
                token(at, label[len])
            });
            // A longer label begins with this one: the text does not continue to it.
            let stays = node(label).map_or(0.0, |at| {
                let goes_on: f64 = logs[at].iter().map(|log| log.exp()).sum();
                (-goes_on.min(1.0)).ln_1p()
            });
            steps.sum::<f64>() + stays
        };
        self.labels.iter().map(label).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_that_labels_share_are_read_once() {
        let tree = Tree::new(vec![vec![9, 1], vec![9, 2, 3], vec![9, 2, 4], vec![9, 1, 5]]);
        let places: Vec<_> = tree.places().collect();
        assert_eq!(places, [(&[9][..], &[1, 2][..]), (&[9, 2], &[3, 4]), (&[9, 1], &[5])]);
        assert_eq!((tree.longest(), tree.depth()), (3, 2));
    }

    #[test]
    fn a_label_is_its_tokens_and_not_a_longer_label() {
        let tree = Tree::new(vec![vec![9, 1], vec![9, 2, 3], vec![9, 2, 4], vec![9, 1, 5]]);
        let logs = [[0.5, 0.25], [0.125, 0.75]].map(|node: [f64; 2]| node.map(f64::ln).to_vec());
        let logs = [&logs[..], &[vec![0.4f64.ln()]]].concat();
        let labels: Vec<f64> = tree.labels(&logs).into_iter().map(f64::exp).collect();
        for (label, expected) in labels.iter().zip([0.5 * 0.6, 0.25 * 0.125, 0.25 * 0.75, 0.5 * 0.4]) {
            assert!((label - expected).abs() < 1e-15, "{label} {expected}");
        }
        assert_eq!(Tree::new(vec![vec![1], vec![2]]).depth(), 1, "no words before the labels");
    }

    #[test]
    fn one_label_may_be_the_beginning_of_all() {
        let tree = Tree::new(vec![vec![1], vec![1, 2]]);
        let labels = tree.labels(&[vec![0.25f64.ln()]]);
        assert!((labels[0].exp() - 0.75).abs() < 1e-15 && (labels[1].exp() - 0.25).abs() < 1e-15);
    }
}
