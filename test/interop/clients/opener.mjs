// In the place of npm's opener: the system browser is the test's.
import { EventEmitter } from 'node:events';

export const browser = new EventEmitter();
export default (url) => { browser.emit('open', url); };
