/** What page and relay may say to each other, by docs/asyncapi.json. */

import Ajv from 'ajv';
import contract from '../../docs/asyncapi.json';

/** @import { FromPage, FromRelay } from '#page/services/messages.js' */
/** @import { ValidateFunction } from 'ajv' */

/** @type {Record<string, any>} */
const schemas = contract.components.schemas;
const ajv = new Ajv({ strict: false }).addSchema(contract, 'contract');

/**
 * Messages by type, as one side may send them.
 * @param {{ messages: { $ref: string }[] }} operation
 */
const sayable = (operation) =>
  new Map(
    operation.messages.map(({ $ref }) => {
      const name = $ref.split('/').at(-1) ?? '';
      const validate = ajv.compile({ $ref: `contract#/components/schemas/${name}` });
      return [/** @type {string} */ (schemas[name].properties.type.enum[0]), validate];
    }),
  );

const fromPage = sayable(contract.operations.fromPage);
const fromRelay = sayable(contract.operations.fromRelay);

/** @param {Map<string, ValidateFunction>} messages @param {FromPage | FromRelay} message */
function check(messages, message) {
  const validate = messages.get(message.type);
  if (!validate) throw new Error(`nobody may say ${message.type} here`);
  const isAgreed = /** @type {boolean} */ (validate(message));
  if (!isAgreed) {
    throw new Error(`${message.type} is not as agreed: ${ajv.errorsText(validate.errors)}`);
  }
}

/** The message, if a page may send it. @template {FromPage} M @param {M} message @returns {M} */
export function asFromPage(message) {
  check(fromPage, message);
  return message;
}

/** The message, if a relay may send it. @template {FromRelay} M @param {M} message @returns {M} */
export function asFromRelay(message) {
  check(fromRelay, message);
  return message;
}
