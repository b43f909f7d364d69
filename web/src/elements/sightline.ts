// One script tag brings both elements.
import { SightlinePlayer } from './player.ts';
import { SightlinePublisher } from './publisher.ts';

customElements.get('sightline-player') ?? customElements.define('sightline-player', SightlinePlayer);
customElements.get('sightline-publisher') ?? customElements.define('sightline-publisher', SightlinePublisher);

export { SightlinePlayer, SightlinePublisher };
