// A rollout: where it is, what its gates say, what happened, and the buttons.

import {colourIndex, el, formatClock, formatDuration, formatPercent, formatSpan, setAttribute, setText, sync} from './draw.js';

const MARKS = {pass: '✓', fail: '✗', undecided: '…'};
const SPOKEN = {pass: 'holds', fail: 'fails', undecided: 'too little data'};
const MOVING = ['Progressing', 'Approval', 'Waiting'];
const BUTTONS = [
  ['approve', 'Approve', ['Approval']],
  ['pause', 'Pause', MOVING],
  ['resume', 'Resume', ['Paused', 'RolledBack']],
  ['promote', 'Promote', [...MOVING, 'Paused']],
  ['rollback', 'Roll back', [...MOVING, 'Paused', 'Completed']],
];
const PHASES = { // as it is shown, and its tone
  Waiting: ['Waiting', null], Progressing: ['Progressing', 'act'], Approval: ['Waits for approval', 'warn'], Paused: ['Paused', 'warn'],
  RolledBack: ['Rolled back', 'bad'], Completed: ['Completed', 'good'],
};

function gatesOf({spec, status}) {
  const {errorRate, p99Ns} = status.gates;
  const calls = status.canaryCalls;
  const percent = (rate) => formatPercent(rate === null ? null : 100 * rate);
  const text = (gate, format) => `${format(gate.canary)} beside ${format(gate.stable)}, at most ${format(gate.limit)}`;
  return [
    {name: 'Errors', verdict: errorRate.verdict, text: text(errorRate, percent)},
    {name: 'p99', verdict: p99Ns.verdict, text: text(p99Ns, formatDuration)},
    {name: 'Calls', verdict: calls >= spec.gates.minCalls ? 'pass' : 'undecided',
      text: `${calls} in this step, at least ${spec.gates.minCalls}`},
  ];
}

function messageOf({reason, phase, exposedCalls, canary, mirror}) {
  return [
    reason,
    phase === 'RolledBack' ? `${exposedCalls} calls met ${canary}` : '',
    mirror ? `of ${mirror.sent} copied calls ${mirror.differ} were answered differently` : '',
  ].filter(Boolean).join('; ');
}

// What the page shows of a document with its status.
export function readRollout({metadata, spec, status}) {
  const step = status.step - 1;
  const hold = spec.steps[step]?.holdSeconds || 0;
  return {
    name: metadata.name, interface: spec.interface, phase: status.phase, weight: status.weight,
    stable: status.stable || spec.stable, canary: status.canary || spec.canary,
    message: messageOf(status),
    steps: spec.steps, step, progress: hold > 0 ? Math.min(1, status.heldSeconds / hold) : 0.5,
    gates: gatesOf({spec, status}),
    history: [...status.history].reverse(),
  };
}

export class RolloutPanel {
  constructor(name, act) {
    this.phase = el('span', {class: 'badge'});
    this.title = el('h3');
    this.title.textContent = name;
    this.route = el('p', {class: 'sub'});
    this.weight = el('strong', {class: 'weight'});
    this.why = el('p', {class: 'why', role: 'status'});
    this.steps = el('ol', {class: 'steps', 'aria-label': 'Steps'});
    this.gates = el('ul', {class: 'gates', 'aria-label': 'Gates'});
    this.history = el('ol', {class: 'plain'});
    this.buttons = el('p', {class: 'buttons'}, ...BUTTONS.map(([action, label]) => {
      const button = el('button', {type: 'button', 'data-action': action, class: action === 'rollback' ? 'danger' : null}, label);
      button.addEventListener('click', () => act(action, this.rollout));
      return button;
    }));
    this.node = el('article', {class: 'rollout'},
      el('div', {class: 'title'}, el('div', {}, el('div', {class: 'line'}, this.title, this.phase), this.route), this.weight),
      this.steps, this.why, this.gates, this.buttons,
      el('details', {}, el('summary', {}, 'Who did what'), this.history));
  }

  update(rollout, versions, control) {
    this.rollout = rollout;
    const [phase, tone] = PHASES[rollout.phase] || [rollout.phase, null];
    setText(this.phase, phase);
    setAttribute(this.phase, 'data-tone', tone);
    setAttribute(this.node, 'data-phase', rollout.phase);
    setText(this.route, `${rollout.stable || '?'} → ${rollout.canary || '?'}`);
    setText(this.weight, formatPercent(rollout.weight));
    setAttribute(this.weight, 'data-colour', colourIndex(versions, rollout.canary));
    setText(this.why, rollout.message || '');
    this.updateSteps(rollout, colourIndex(versions, rollout.canary));
    this.updateGates(rollout);
    sync(this.history, rollout.history, (entry) => `${entry.time} ${entry.what} ${entry.weight}`, () => el('li'), (item, entry) =>
      setText(item, `${formatClock(entry.time)}  ${entry.who}: ${entry.what}, ${formatPercent(entry.weight)}${entry.why ? `: ${entry.why}` : ''}`));
    this.buttons.hidden = !control;
    for (const button of this.buttons.children) {
      const phases = BUTTONS.find(([action]) => action === button.dataset.action)[2];
      button.hidden = !control || !phases.includes(rollout.phase);
      if (button.dataset.action === 'resume')
        setText(button, rollout.phase === 'RolledBack' ? 'Begin again' : 'Resume');
    }
  }

  updateSteps(rollout, index) {
    sync(this.steps, rollout.steps.map((step, i) => ({...step, i})), (step) => step.i,
      () => el('li', {}, el('span', {class: 'fill', 'data-colour': index}), el('span', {class: 'step'}, el('span'), el('span', {class: 'wide'}))),
      (item, step) => {
        const over = rollout.phase === 'Completed' || step.i < rollout.step;
        const here = step.i === rollout.step && !over && rollout.phase !== 'RolledBack';
        const done = rollout.phase === 'RolledBack' ? 0 : over ? 1 : here ? rollout.progress : 0;
        item.firstChild.style.transform = `scaleX(${done})`;
        setAttribute(item, 'aria-current', here ? 'step' : null);
        setAttribute(item, 'data-failed', rollout.phase === 'RolledBack' && step.i === rollout.step ? '' : null);
        const [weight, rest] = item.lastChild.children;
        setText(weight, formatPercent(step.weight));
        setText(rest, [step.holdSeconds > 0 ? formatSpan(step.holdSeconds) : '', step.approval ? 'approval' : '']
          .filter(Boolean).map((text) => ` · ${text}`).join(''));
      });
  }

  updateGates(rollout) {
    sync(this.gates, rollout.gates, (gate) => gate.name,
      () => el('li', {}, el('span', {class: 'mark', 'aria-hidden': true}), el('span', {class: 'gate'}), el('span', {class: 'value'}),
        el('span', {class: 'hidden'})),
      (item, gate) => {
        setAttribute(item, 'data-state', gate.verdict);
        const [mark, name, value, spoken] = item.children;
        setText(mark, MARKS[gate.verdict]);
        setText(name, gate.name);
        setText(value, gate.text);
        setText(spoken, SPOKEN[gate.verdict]);
      });
  }
}
